import { forbidden, notFound } from '../json/status-error.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { AdmissionPlugin, Change } from './admission-plugin.ts';

/** Namespaces without which a cluster does not work. */
const PROTECTED = new Set(['default', 'kube-system', 'kube-public']);

/** Refuses new objects in namespaces that are missing or going, and keeps the first namespaces. */
export class NamespaceLifecycle implements AdmissionPlugin {
  readonly #namespaces: ObjectStore;

  constructor(namespaces: ObjectStore) {
    this.#namespaces = namespaces;
  }

  admit(change: Change): void {
    const { definition, name, namespace, operation } = change;
    if (definition.kind === 'Namespace' && operation === 'delete' && PROTECTED.has(name)) {
      throw forbidden('', 'namespaces', name, 'this namespace may not be deleted');
    }
    if (!definition.namespaced || operation !== 'create') return;
    const stored = this.#namespaces.get(namespace);
    if (stored === undefined) throw notFound('', 'namespaces', namespace);
    if (stored.fields['status.phase'] !== 'Terminating') return;
    throw forbidden(
      definition.group,
      definition.resource,
      name,
      `unable to create new content in namespace ${namespace} because it is being terminated`,
    );
  }
}
