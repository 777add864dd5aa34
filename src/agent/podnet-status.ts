import { describeError } from '../errors/flatnet-error.ts';
import type { NodeLease } from '../podnet/node-lease.ts';
import type { PodNetwork } from '../podnet/pod-network.ts';
import type { LeaseStore } from '../podnet/stores/lease-store.ts';
import type { BackendRollout, Stage } from './backend-rollout.ts';
import type { NodeNetwork } from './node-network.ts';
import type { NodeProblems } from './node-problems.ts';

/** What `/status` of the health server answers, and `flatnet podnet status` prints. */
export interface PodnetStatus {
  readonly node: string;
  /** Why pods cannot be started; absent when they can. */
  readonly waitsFor?: string;
  /** Why what is known of the cluster may be out of date; absent while the store is followed. */
  readonly storeFailure?: string;
  /** The wanted backend first; a former one behind it while a change is under way. */
  readonly backends: readonly string[];
  readonly stage: Stage;
  readonly device?: string;
  /** Why this address was chosen. */
  readonly reason?: string;
  readonly publicIps: readonly string[];
  readonly underlayMtu?: number;
  readonly podMtu?: number;
  readonly subnets: readonly string[];
  readonly problems: readonly string[];
  readonly peers: readonly PeerStatus[];
}

interface PeerStatus {
  /** As people call it: where the store knows no names of nodes (flanneld in etcd), its address. */
  readonly node: string;
  readonly podCidrs: readonly string[];
  readonly publicIps: readonly string[];
  /** The backend by which it is reached; absent when it is not. */
  readonly by?: string;
  readonly underlayMtu?: number;
  readonly problems: readonly string[];
}

export interface StatusParts {
  readonly nodeName: string;
  readonly node: NodeNetwork;
  readonly network: PodNetwork;
  readonly rollout: BackendRollout;
  readonly problems: NodeProblems;
  readonly store: LeaseStore;
}

export function podnetStatus(parts: StatusParts): PodnetStatus {
  const { nodeName, node, network, rollout, problems } = parts;
  const storeFailure = failureOf(parts.store);
  const { waitsFor, podMtu, publication } = node.status;
  const about = publication?.about;
  const peers = [...network.leases()].map((lease) => {
    const by = network.reachedBy(lease.node)?.name;
    return { ...describePeer(lease), ...(by === undefined ? {} : { by }), problems: problems.of(lease.node) };
  });
  return {
    node: nodeName,
    ...(waitsFor === undefined ? {} : { waitsFor }),
    ...(storeFailure === undefined ? {} : { storeFailure }),
    backends: rollout.ways.backends.map(({ name }) => name),
    stage: rollout.stage,
    ...(about === undefined ? {} : { device: about.device, reason: about.reason, underlayMtu: about.mtu }),
    publicIps: [...(publication?.publicIps.values() ?? [])].map(String),
    ...(podMtu === undefined ? {} : { podMtu }),
    subnets: about?.subnets ?? [],
    problems: problems.of(nodeName),
    peers: peers.sort((a, b) => (a.node < b.node ? -1 : 1)),
  };
}

function failureOf({ failure, hasSynced }: LeaseStore): string | undefined {
  if (failure !== undefined) return describeError(failure);
  return hasSynced ? undefined : 'it has not told all nodes yet';
}

function describePeer({ node, alias, families, underlayMtu }: NodeLease): Omit<PeerStatus, 'problems'> {
  return {
    node: alias ?? node,
    podCidrs: [...families.values()].map(({ podCidr }) => podCidr.toString()),
    publicIps: [...families.values()].map(({ publicIp }) => publicIp.toString()),
    ...(underlayMtu === undefined ? {} : { underlayMtu }),
  };
}
