import type { JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

// events.k8s.io/v1 renamed members of the core Event; the rest is the same in both.
const RENAMED: readonly (readonly [core: string, renamed: string])[] = [
  ['involvedObject', 'regarding'],
  ['message', 'note'],
  ['reportingComponent', 'reportingController'],
  ['source', 'deprecatedSource'],
  ['firstTimestamp', 'deprecatedFirstTimestamp'],
  ['lastTimestamp', 'deprecatedLastTimestamp'],
  ['count', 'deprecatedCount'],
];

function rename(object: JsonObject, pairs: Iterable<readonly [from: string, to: string]>): void {
  for (const [from, to] of pairs) {
    if (object[from] === undefined) continue;
    object[to] = object[from];
    delete object[from];
  }
}

/** events.k8s.io/v1 Event as another view of the core Event. */
export const convertNewEvent = {
  fromStorage(object: KubeObject): KubeObject {
    object.apiVersion = 'events.k8s.io/v1';
    rename(object, RENAMED);
    return object;
  },

  toStorage(object: KubeObject): KubeObject {
    object.apiVersion = 'v1';
    rename(
      object,
      RENAMED.map(([core, renamed]) => [renamed, core] as const),
    );

    return object;
  },
};
