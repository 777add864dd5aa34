import { ensureObject, objectAt, setDefaults, stringAt } from '../json/json.ts';
import { forbidden } from '../json/status-error.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { storageKey } from '../store/stored-object.ts';
import type { AdmissionPlugin, Change } from './admission-plugin.ts';

const DEFAULT = 'default';

/** Gives pods the service account `default` and the default priority; refuses accounts that do not exist. */
export class ServiceAccountAdmission implements AdmissionPlugin {
  readonly #accounts: ObjectStore;

  constructor(accounts: ObjectStore) {
    this.#accounts = accounts;
  }

  admit({ definition, namespace, name, object, operation, subresource }: Change): void {
    if (definition.kind !== 'Pod' || operation !== 'create' || subresource !== undefined) return;
    const spec = ensureObject(object, 'spec');
    const mirror = objectAt(object, 'metadata', 'annotations')?.['kubernetes.io/config.mirror'];
    if (mirror !== undefined) return;
    const given = stringAt(spec, 'serviceAccountName') ?? '';
    const account = given === '' ? DEFAULT : given;
    // The account `default` follows its namespace by a moment; pods need not wait for it here.
    if (account !== DEFAULT && this.#accounts.get(storageKey(namespace, account)) === undefined) {
      throw forbidden(
        '',
        'pods',
        name,
        `error looking up service account ${namespace}/${account}: serviceaccount "${account}" not found`,
      );
    }
    spec['serviceAccountName'] = account;
    spec['serviceAccount'] = account;
    setDefaults(spec, { preemptionPolicy: 'PreemptLowerPriority', priority: 0 });
  }
}
