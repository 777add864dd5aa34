import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';
import type { BackendSettings } from '../network-config.ts';
import type { FamilyLease, NodeLease } from '../node-lease.ts';
import type { Entry } from './entry.ts';

/** The network that carries the cluster, as this node is connected to it. */
export interface Underlay {
  readonly device: string;
  /** Bytes. */
  readonly mtu: number;
  /** What is reached without a router. */
  readonly onLink: readonly Cidr[];
}

/** This node's part in one address family. */
export interface LocalFamily {
  readonly podCidr: Cidr;
  /** Address on the underlay from which this node sends. */
  readonly ip: Ip;
  /** MAC of the tunnel device; not used by backends without one. */
  readonly vtepMac: Mac;
}

/** What a plan has to know of the node it is for. */
export interface LocalNode {
  readonly name: string;
  readonly underlay: Underlay;
  readonly families: ReadonlyMap<IpFamily, LocalFamily>;
}

export interface PeerPlan {
  readonly entries: readonly Entry[];
  /** Why the peer, or a family of it, is not reachable. */
  readonly problems: readonly FlatnetError[];
}

/** How pods of other nodes are reached. Plans are pure: what should be in the kernel, given these facts. */
export interface Backend {
  readonly type: BackendSettings['type'];
  /** Bytes that the encapsulation takes from each packet. */
  overhead(family: IpFamily): number;
  /** Devices and addresses that the node itself needs. */
  planNode(local: LocalNode): Entry[];
  planPeer(local: LocalNode, peer: NodeLease): PeerPlan;
  /** What the node publishes of itself beside its addresses. */
  vtep(local: LocalFamily): FamilyLease['vtep'];
}

/** The MTU of pods: the underlay's less the largest encapsulation of the families in use. */
export function podMtu(backend: Backend, local: Pick<LocalNode, 'underlay' | 'families'>): number {
  const overheads = [...local.families.keys()].map((family) => backend.overhead(family));
  return local.underlay.mtu - Math.max(0, ...overheads);
}

/** What every backend does: family by family, where both nodes have it. */
export function planFamilies(
  type: Backend['type'],
  local: LocalNode,
  peer: NodeLease,
  planFamily: (family: IpFamily, here: LocalFamily, there: FamilyLease) => Entry[],
): PeerPlan {
  if (peer.backendType !== type) {
    const problem = new FlatnetError(
      `node ${peer.node}: annotation flannel.alpha.coreos.com/backend-type is "${peer.backendType}", but this node has "${type}"`,
      { code: 'BACKEND_MISMATCH', hint: 'give all nodes the same network.Backend.Type' },
    );
    return { entries: [], problems: [problem] };
  }
  const entries: Entry[] = [];
  const problems: FlatnetError[] = [];
  for (const [family, here] of local.families) {
    const there = peer.families.get(family);
    if (there === undefined) continue;
    try {
      refuseOverlap(local, here, peer.node, there);
      entries.push(...planFamily(family, here, there));
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      problems.push(error);
    }
  }
  return { entries, problems };
}

export const isOnLink = (underlay: Underlay, ip: Ip): boolean =>
  underlay.onLink.some((prefix) => prefix.contains(ip));

function refuseOverlap(local: LocalNode, here: LocalFamily, peer: string, there: FamilyLease): void {
  if (there.podCidr.overlaps(here.podCidr)) {
    throw new FlatnetError(
      `node ${peer}: pod CIDR ${there.podCidr.toString()} overlaps ${here.podCidr.toString()} of this node (${local.name})`,
      { code: 'POD_CIDR_OVERLAP', hint: 'one of the two nodes has to be given another pod CIDR' },
    );
  }
  if (there.publicIp.equals(here.ip)) {
    throw new FlatnetError(
      `node ${peer}: public IP ${there.publicIp.toString()} is this node's own (${local.name})`,
      {
        code: 'DUPLICATE_NODE_IP',
        hint: 'delete the Node object that is left over, or give the node its own address',
      },
    );
  }
}
