import { stringAt, valueAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

/** Field selectors of a kind: the names, and how the values are read. Empty values are left out. */
export function selectable(paths: Readonly<Record<string, readonly string[]>>): {
  selectableFields: readonly string[];
  fieldsOf: (object: KubeObject) => Record<string, string>;
} {
  const entries = Object.entries(paths);
  return {
    selectableFields: entries.map(([name]) => name),
    fieldsOf: (object) => {
      const fields: Record<string, string> = {};
      for (const [name, path] of entries) {
        const value = valueAt(object, ...path);
        if (value !== undefined && value !== '' && typeof value !== 'object') fields[name] = String(value);
      }
      return fields;
    },
  };
}

const EVENT_PATHS = Object.fromEntries(
  ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].flatMap((member) => [
    [`involvedObject.${member}`, ['involvedObject', member]],
    [`regarding.${member}`, ['involvedObject', member]],
  ]),
);

/** Events are asked for by what they are about; `source` falls back to the reporting component. */
export const EVENT_FIELDS = ((): ReturnType<typeof selectable> => {
  const plain = selectable({
    ...EVENT_PATHS,
    reason: ['reason'],
    reportingComponent: ['reportingComponent'],
    reportingController: ['reportingComponent'],
    type: ['type'],
  });
  return {
    selectableFields: [...plain.selectableFields, 'source'],
    fieldsOf: (object) => {
      const source = stringAt(object, 'source', 'component') ?? stringAt(object, 'reportingComponent') ?? '';
      return source === '' ? plain.fieldsOf(object) : { ...plain.fieldsOf(object), source };
    },
  };
})();

export const POD_FIELDS = selectable({
  'spec.nodeName': ['spec', 'nodeName'],
  'spec.restartPolicy': ['spec', 'restartPolicy'],
  'spec.schedulerName': ['spec', 'schedulerName'],
  'spec.serviceAccountName': ['spec', 'serviceAccountName'],
  'spec.hostNetwork': ['spec', 'hostNetwork'],
  'status.phase': ['status', 'phase'],
  'status.podIP': ['status', 'podIP'],
  'status.nominatedNodeName': ['status', 'nominatedNodeName'],
});
