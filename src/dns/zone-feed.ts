import type { ApiClient } from '../cluster/api-client.ts';
import { Informer } from '../cluster/informer.ts';
import { ENDPOINT_SLICES, NAMESPACES, SERVICES } from '../cluster/resource-type.ts';
import type { Logger } from '../log/logger.ts';
import { projectEndpointSlice, projectNamespace, projectService } from './zone-objects.ts';
import type { ZoneView } from './zone-view.ts';

/** Keeps a zone view equal to the cluster. */
export class ZoneFeed {
  readonly #informers;

  constructor(client: ApiClient, view: ZoneView, logger: Logger) {
    const namespaces = new Informer(client, NAMESPACES, { project: projectNamespace, logger });
    const services = new Informer(client, SERVICES, { project: projectService, logger });
    const slices = new Informer(client, ENDPOINT_SLICES, { project: projectEndpointSlice, logger });
    namespaces.subscribe({
      added: (name) => view.setNamespace(name),
      deleted: (name) => view.removeNamespace(name),
    });
    services.subscribe({
      added: (service, key) => view.setService(key, service),
      updated: (service, _old, key) => view.setService(key, service),
      deleted: (_old, key) => view.removeService(key),
    });
    slices.subscribe({
      added: (slice, key) => view.setEndpointSlice(key, slice),
      updated: (slice, _old, key) => view.setEndpointSlice(key, slice),
      deleted: (_old, key) => view.removeEndpointSlice(key),
    });
    this.#informers = [namespaces, services, slices];
  }

  get hasSynced(): boolean {
    return this.#informers.every((informer) => informer.hasSynced);
  }

  /** Follows the cluster until the signal is aborted; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#informers.map(async (informer) => informer.run(signal)));
  }
}
