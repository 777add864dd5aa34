import { FlatnetError } from '../errors/flatnet-error.ts';
import type { LocalNode } from '../podnet/backends/backend.ts';
import { changeKind, describeBackend, unreachable, type ReachNode } from '../podnet/backends/change-plan.ts';
import type { BackendSettings } from '../podnet/network-config.ts';
import type { NodeLease } from '../podnet/node-lease.ts';

/** At most so many nodes are named in one message. */
const NAMED = 5;

/**
 * Looks, before anything is changed, whether this node would lose another one by the new backend. Throws
 * CHANGE_REFUSED that names them.
 */
export function judgeOwnChange(
  present: readonly BackendSettings[],
  next: BackendSettings,
  local: LocalNode,
  leases: Iterable<NodeLease>,
): void {
  const kinds = present.map((settings) => changeKind(settings, next));
  if (!kinds.every((kind) => kind === 'beside')) return;
  const here: ReachNode = {
    node: local.name,
    ips: new Map([...local.families].map(([family, { ip }]) => [family, ip])),
    subnets: local.underlay.onLink,
    rolls: true,
  };
  const lost: string[] = [];
  for (const lease of leases) {
    const why = unreachable(next, here, reachOf(lease));
    if (why !== undefined) lost.push(`${lease.node}: ${why}`);
  }
  if (lost.length === 0) return;
  const more = lost.length > NAMED ? ` and ${lost.length - NAMED} more` : '';
  throw new FlatnetError(
    `by ${describeBackend(next)} node ${local.name} would lose ${lost.slice(0, NAMED).join('; ')}${more}`,
    { code: 'CHANGE_REFUSED', hint: 'flatnet podnet plan-change shows every pair of nodes before a change' },
  );
}

/** `subnets` are not known of others here: their side is judged by themselves. */
const reachOf = ({ node, families, underlayMtu }: NodeLease): ReachNode => ({
  node,
  ips: new Map([...families].map(([family, { publicIp }]) => [family, publicIp])),
  subnets: undefined,
  rolls: underlayMtu !== undefined,
});
