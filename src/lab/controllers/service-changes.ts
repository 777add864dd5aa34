import type { Pod } from 'kubernetes-types/core/v1.js';
import { keyOf } from '../../cluster/kube-object.ts';
import { byNamespace, type Views } from './context.ts';
import { sameJson } from './same-json.ts';
import { endpointFacts, selectsPod } from './service-endpoints.ts';

/** Calls back with the key of every Service whose endpoints may be others now: its own change or a pod's. */
export function onServiceChange(views: Views, changed: (key: string) => void): void {
  views.services.onChange((now, before) => {
    const service = now ?? before;
    if (service !== undefined) changed(keyOf(service));
  });
  const affected = (pod: Pod): void => {
    for (const service of views.services.find(byNamespace(pod.metadata?.namespace ?? ''))) {
      if (selectsPod(service, pod)) changed(keyOf(service));
    }
  };
  views.pods.onChange((now, before) => {
    if (now !== undefined && before !== undefined && sameJson(endpointFacts(now), endpointFacts(before)))
      return;
    if (before !== undefined) affected(before);
    if (now !== undefined) affected(now);
  });
}
