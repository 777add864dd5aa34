import type { ServiceEndpoint, ServicePort } from './service-port.ts';
import {
  FOR_THIS_NODE,
  FOR_THIS_ZONE,
  LOCAL,
  NODE_HINTS,
  READY,
  SERVING_TERMINATING,
  ZONE_HINTS,
} from './slice-spec.ts';

/** An endpoint of any slice of the Service; `state` as in SliceSpec. No two are of the same address and port. */
export interface Candidate {
  readonly address: string;
  readonly port: number;
  readonly state: number;
}

type Selection = Pick<ServicePort, 'endpoints' | 'localEndpoints' | 'hasEndpoints'>;

const NONE: readonly ServiceEndpoint[] = [];
const NOTHING: Selection = { endpoints: NONE, localEndpoints: NONE, hasEndpoints: false };

/**
 * Which endpoints get connections, by policy (kube-proxy's CategorizeEndpoints, pkg/proxy/topology.go). Ready ones;
 * where a policy has none, those that terminate but still serve (KEP-1669), each policy by itself.
 */
export function selectEndpoints(
  all: readonly Candidate[],
  needs: { readonly cluster: boolean; readonly local: boolean },
): Selection {
  const ready = having(all, READY);
  const usable = ready.length > 0 ? ready : having(all, SERVING_TERMINATING);
  if (usable.length === 0) return NOTHING;
  const endpoints = needs.cluster ? toEndpoints(having(usable, hintedFor(ready))) : NONE;
  if (!needs.local) return { endpoints, localEndpoints: NONE, hasEndpoints: true };
  const here = having(all, LOCAL);
  const hereReady = having(here, READY);
  const local = hereReady.length > 0 ? hereReady : having(here, SERVING_TERMINATING);
  return { endpoints, localEndpoints: toEndpoints(local), hasEndpoints: true };
}

/**
 * The bit that an endpoint must have to be near enough; 0: all are. Hints count only if every ready endpoint has some
 * and one is for this node or zone, so that a client never has fewer endpoints for a controller that lags behind.
 */
function hintedFor(ready: readonly Candidate[]): number {
  let common = -1;
  let any = 0;
  for (const { state } of ready) {
    common &= state;
    any |= state;
  }
  if (ready.length === 0) return 0;
  if ((common & NODE_HINTS) !== 0 && (any & FOR_THIS_NODE) !== 0) return FOR_THIS_NODE;
  if ((common & ZONE_HINTS) !== 0 && (any & FOR_THIS_ZONE) !== 0) return FOR_THIS_ZONE;
  return 0;
}

/** 0: all of them. */
function having(candidates: readonly Candidate[], bit: number): readonly Candidate[] {
  if (candidates.every(({ state }) => (state & bit) === bit)) return candidates;
  return candidates.filter(({ state }) => (state & bit) !== 0);
}

function toEndpoints(candidates: readonly Candidate[]): readonly ServiceEndpoint[] {
  if (candidates.length === 0) return NONE;
  return candidates.map(({ address, port, state }) => ({ address, port, local: (state & LOCAL) !== 0 }));
}
