import { ensureObject, objectAt, setDefaults, stringAt } from '../json/json.ts';
import type { AdmissionPlugin, Change } from './admission-plugin.ts';

/** Gives pods the service account `default` and the default priority. */
export const serviceAccountAdmission: AdmissionPlugin = {
  admit({ definition, object, operation, subresource }: Change): void {
    if (definition.kind !== 'Pod' || operation !== 'create' || subresource !== undefined) return;
    const spec = ensureObject(object, 'spec');
    const mirror = objectAt(object, 'metadata', 'annotations')?.['kubernetes.io/config.mirror'];
    if (mirror !== undefined) return;
    if ((stringAt(spec, 'serviceAccountName') ?? '') === '') {
      spec['serviceAccountName'] = 'default';
      spec['serviceAccount'] = 'default';
    }
    setDefaults(spec, { preemptionPolicy: 'PreemptLowerPriority', priority: 0 });
  },
};
