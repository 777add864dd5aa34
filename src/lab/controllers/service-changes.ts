import type { Pod, Service } from 'kubernetes-types/core/v1.js';
import { keyOf } from '../../cluster/kube-object.ts';
import { byLabel, type Views } from './context.ts';
import { sameJson } from './same-json.ts';
import { endpointFacts, selectsPod } from './service-endpoints.ts';

/** Calls back with the key of every Service whose endpoints may be others now: its own change or a pod's. */
export function onServiceChange(views: Views, changed: (key: string) => void): void {
  views.services.onChange((now, before) => {
    const service = now ?? before;
    if (service !== undefined) changed(keyOf(service));
  });
  const affected = (pod: Pod): void => {
    const { namespace = '', labels = {} } = pod.metadata ?? {};
    for (const [key, value] of Object.entries(labels)) {
      for (const service of views.services.find(byLabel(namespace, key, value))) {
        if (selectsPod(service, pod)) changed(keyOf(service));
      }
    }
  };
  views.pods.onChange((now, before) => {
    if (now !== undefined && before !== undefined && sameJson(endpointFacts(now), endpointFacts(before)))
      return;
    if (before !== undefined) affected(before);
    if (now !== undefined) affected(now);
  });
}

/** The pods that a Service selects, found by one of its labels. */
export function podsOfService(views: Views, service: Service): Pod[] {
  const [label] = Object.entries(service.spec?.selector ?? {});
  if (label === undefined) return [];
  const candidates = views.pods.find(byLabel(service.metadata?.namespace ?? '', ...label));
  return candidates.filter((pod) => selectsPod(service, pod));
}
