import type { Service } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { Informer } from '../../cluster/informer.ts';
import { SERVICES } from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';
import { serviceVariables, type ServiceFacts } from './service-variables.ts';

/** The cluster's Services as far as containers' environments need them; one for all kubelets of the process. */
export class ServiceView {
  readonly #informer: Informer<Service, ServiceFacts>;

  constructor(client: ApiClient, logger: Logger) {
    this.#informer = new Informer(client, SERVICES, { project: factsOf, logger });
  }

  async run(signal: AbortSignal): Promise<void> {
    await this.#informer.run(signal);
  }

  /** Waits for the first list: a container that starts before would miss variables for its whole life. */
  async variables(
    namespace: string,
    linksEnabled: boolean,
    signal: AbortSignal,
  ): Promise<Map<string, string>> {
    await this.#informer.synced(signal);
    return serviceVariables(this.#informer.values(), namespace, linksEnabled);
  }
}

function factsOf(service: Service): ServiceFacts {
  return {
    namespace: service.metadata?.namespace ?? '',
    name: service.metadata?.name ?? '',
    clusterIp: service.spec?.clusterIP ?? '',
    ports: (service.spec?.ports ?? []).map(({ name, port, protocol }) => ({
      name: name ?? '',
      port,
      protocol: protocol ?? 'TCP',
    })),
  };
}
