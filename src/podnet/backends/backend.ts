import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';
import type { BackendSettings } from '../network-config.ts';
import type { FamilyLease, NodeLease, Offer } from '../node-lease.ts';
import { entryKey, type Entry } from './entry.ts';

/** The network that carries the cluster, as this node is connected to it. */
export interface Underlay {
  readonly device: string;
  /** Bytes. */
  readonly mtu: number;
  /** Bytes that pass to every other node; less than `mtu` where the underlay of one carries less. Absent: `mtu`. */
  readonly pathMtu?: number;
  /** What is reached without a router. */
  readonly onLink: readonly Cidr[];
}

/** This node's part in one address family. */
export interface LocalFamily {
  readonly podCidr: Cidr;
  /** The cluster's range, of which `podCidr` is a part. */
  readonly network: Cidr;
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

/** Another node in one family, by the offer that the two nodes meet in. */
export interface Peer extends FamilyLease {
  readonly node: string;
  /** The offer's for this family, unopened. */
  readonly data: unknown;
  /** The whole of it, for a backend that serves both families on one device. */
  readonly families: NodeLease['families'];
  readonly offer: Offer;
}

export interface PeerPlan {
  readonly entries: readonly Entry[];
  /** Why the peer, or a family of it, is not reachable. */
  readonly problems: readonly FlatnetError[];
}

/** How pods of other nodes are reached. Plans are pure: what should be in the kernel, given these facts. */
export interface Backend {
  readonly type: BackendSettings['type'];
  /** Tells it from another of its type, for people: `vxlan 1`. */
  readonly name: string;
  /** UDP ports of its tunnels: their packets need no connection tracking. */
  readonly tunnelPorts: readonly number[];
  /** Bytes that the encapsulation takes from each packet. */
  overhead(family: IpFamily): number;
  /** What the node publishes of itself in one family: flannel's BackendData, null for nothing. */
  data(local: LocalFamily, family: IpFamily): unknown;
  /** Whether an offer of this type is one that this backend can meet (the same VNI); unreadable data: yes. */
  accepts(offer: Offer): boolean;
  /** Devices and addresses that the node itself needs. */
  planNode(local: LocalNode): Entry[];
  /** Throws FlatnetError that names the peer and the field. */
  planPeer(local: LocalNode, family: IpFamily, peer: Peer): Entry[];
}

/** The MTU of pods: the underlay's less the largest encapsulation of the backends and families in use. */
export function podMtu(
  backends: readonly Backend[],
  local: Pick<LocalNode, 'underlay' | 'families'>,
): number {
  const families = [...local.families.keys()];
  const overheads = backends.flatMap((backend) => families.map((family) => backend.overhead(family)));
  return local.underlay.mtu - Math.max(0, ...overheads);
}

/** What the node needs to reach a peer by one backend: family by family, where both nodes have it. */
export function planPeer(backend: Backend, local: LocalNode, peer: NodeLease, offer: Offer): PeerPlan {
  const entries = new Map<string, Entry>();
  const problems: FlatnetError[] = [];
  for (const [family, here] of local.families) {
    const there = peer.families.get(family);
    if (there === undefined) continue;
    try {
      refuseOverlap(local, here, peer.node, there);
      const data = offer.data.get(family) ?? null;
      const { node, families } = peer;
      const planned = backend.planPeer(local, family, { ...there, node, data, families, offer });
      for (const entry of planned) entries.set(entryKey(entry), withPathMtu(entry, backend, local));
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      problems.push(error);
    }
  }
  return { entries: [...entries.values()], problems };
}

/**
 * Where pods have a smaller MTU than this node's devices, routes to other nodes' pods have it too: with br_netfilter a
 * bridge puts fragments together again, and an IPv6 packet that then fitted the device, but not the far underlay or
 * bridge, would go out whole and be lost each time.
 */
function withPathMtu(entry: Entry, backend: Backend, { underlay, families }: LocalNode): Entry {
  const { mtu, pathMtu = mtu } = underlay;
  if (entry.kind !== 'route' || pathMtu >= mtu) return entry;
  return { ...entry, mtu: podMtu([backend], { underlay: { ...underlay, mtu: pathMtu }, families }) };
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
  const pods = [there.podCidr, here.podCidr].find((cidr) => cidr.contains(there.publicIp));
  if (pods !== undefined) {
    throw new FlatnetError(
      `node ${peer}: public IP ${there.publicIp.toString()} lies in ${pods.toString()}, where pods are: packets to the node would go round in circles`,
      { code: 'NODE_IP_AMONG_PODS', hint: 'let the node publish its address on the network below' },
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
