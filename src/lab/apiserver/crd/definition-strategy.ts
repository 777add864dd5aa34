import {
  arrayAt,
  ensureObject,
  type JsonObject,
  objectAt,
  objectsAt,
  setDefaults,
  stringAt,
} from '../json/json.ts';
import { type KubeObject, kubeTime } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import type { Strategy } from '../kinds/resource-definition.ts';
import { invalidValue, notSupported, required } from '../validation/field-errors.ts';
import { dns1035Label } from '../validation/names.ts';
import { schemaProblem } from './structural-schema.ts';

/** What is particular about CustomResourceDefinitions themselves. */
export const definitionStrategy: Strategy = {
  setDefaults: setDefinitionDefaults,
  prepareForCreate: (object) => {
    object['status'] = establishedStatus(object);
  },
  prepareForUpdate: (object, old) => {
    const stored = new Set([...arrayAt(old, 'status', 'storedVersions'), storageVersion(object)]);
    object['status'] = { ...objectAt(old, 'status'), ...namesOf(object), storedVersions: [...stored] };
  },
  validate: validateDefinition,
  countsGenerations: true,
};

function setDefinitionDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  const names = ensureObject(spec, 'names');
  const kind = stringAt(names, 'kind') ?? '';
  setDefaults(names, { singular: kind.toLowerCase(), listKind: `${kind}List` });
  setDefaults(ensureObject(spec, 'conversion'), { strategy: 'None' });
}

function storageVersion(object: KubeObject): string {
  const version = objectsAt(object, 'spec', 'versions').find((one) => one['storage'] === true);
  return stringAt(version, 'name') ?? '';
}

function namesOf(object: KubeObject): JsonObject {
  return { acceptedNames: { ...objectAt(object, 'spec', 'names') } };
}

/** Names are checked before the definition is stored, so it is served from the moment it exists. */
function establishedStatus(object: KubeObject): JsonObject {
  const lastTransitionTime = kubeTime(new Date());
  return {
    conditions: [
      {
        type: 'NamesAccepted',
        status: 'True',
        lastTransitionTime,
        reason: 'NoConflicts',
        message: 'no conflicts found',
      },
      {
        type: 'Established',
        status: 'True',
        lastTransitionTime,
        reason: 'InitialNamesAccepted',
        message: 'the initial names have been accepted',
      },
    ],
    ...namesOf(object),
    storedVersions: [storageVersion(object)],
  };
}

function validateDefinition(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes: Cause[] = [];
  const group = stringAt(spec, 'group') ?? '';
  const plural = stringAt(spec, 'names', 'plural') ?? '';
  if (group === '') causes.push(required('spec.group'));
  if (plural === '') causes.push(required('spec.names.plural'));
  else if (dns1035Label(plural) !== undefined)
    causes.push(invalidValue('spec.names.plural', plural, dns1035Label(plural) ?? ''));
  if ((stringAt(spec, 'names', 'kind') ?? '') === '') causes.push(required('spec.names.kind'));
  const scope = stringAt(spec, 'scope');
  if (scope !== 'Namespaced' && scope !== 'Cluster')
    causes.push(notSupported('spec.scope', scope, ['Cluster', 'Namespaced']));
  if (object.metadata.name !== `${plural}.${group}`) {
    causes.push(
      invalidValue('metadata.name', object.metadata.name, 'must be spec.names.plural+"."+spec.group'),
    );
  }
  causes.push(...validateVersions(spec));
  if (old !== undefined && stringAt(old, 'spec', 'scope') !== scope)
    causes.push(invalidValue('spec.scope', scope, 'field is immutable'));
  return causes;
}

function validateVersions(spec: JsonObject): Cause[] {
  const versions = objectsAt(spec, 'versions');
  const causes: Cause[] = [];
  if (versions.filter((one) => one['storage'] === true).length !== 1) {
    causes.push(
      invalidValue(
        'spec.versions',
        versions.map((one) => stringAt(one, 'name') ?? ''),
        'must have exactly one version marked as storage version',
      ),
    );
  }
  for (const [i, version] of versions.entries()) {
    const field = `spec.versions[${i}]`;
    const name = stringAt(version, 'name') ?? '';
    const wrong = dns1035Label(name);
    if (wrong !== undefined) causes.push(invalidValue(`${field}.name`, name, wrong));
    const problem = schemaProblem(objectAt(version, 'schema', 'openAPIV3Schema'));
    if (problem !== undefined) causes.push(required(`${field}.schema.openAPIV3Schema`, problem));
  }
  return causes;
}
