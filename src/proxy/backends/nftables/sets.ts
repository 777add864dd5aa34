import type { NftSet, NftSetKind, NftTable } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';

const TABLE_NAME = 'flatnet-proxy';

/** The sets and maps of one family's table; names are kube-proxy's where the meaning is the same. */
export interface ProxySets {
  readonly table: NftTable;
  /** address . protocol . port : how to balance (a key of `balancers`). */
  readonly serviceIps: NftSet;
  /** protocol . port : how to balance (a key of `nodePortBalancers`). */
  readonly serviceNodePorts: NftSet;
  /** How to balance : the chain that does. */
  readonly balancers: NftSet;
  readonly nodePortBalancers: NftSet;
  /** address . protocol . port . number : endpoint's address . port. */
  readonly endpoints: NftSet;
  /** protocol . port . number : endpoint's address . port. */
  readonly nodePortEndpoints: NftSet;
  /** address . protocol . port of Services without endpoints. */
  readonly noEndpointServices: NftSet;
  readonly noEndpointNodePorts: NftSet;
  /** All ClusterIPs, whatever their ports. */
  readonly clusterIps: NftSet;
  /** The node's addresses on which node ports answer. */
  readonly nodePortIps: NftSet;
  /** address . address of each endpoint on this node: it may reach itself through a Service. */
  readonly hairpins: NftSet;
  /** address . protocol . port : for how many seconds clients are remembered (a key of `learners`). */
  readonly affinityServices: NftSet;
  readonly affinityNodePorts: NftSet;
  /** Seconds : the chain that remembers for so long. */
  readonly learners: NftSet;
  /** client . address . protocol . port : endpoint's address . port. Filled by the packet path. */
  readonly affinity: NftSet;
}

export function proxySets(family: IpFamily): ProxySets {
  const table: NftTable = { family: family === 4 ? 'ip' : 'ip6', name: TABLE_NAME };
  const set = (name: string, kind: NftSetKind): NftSet => ({ table, name, kind });
  return {
    table,
    serviceIps: set('service-ips', 'map'),
    serviceNodePorts: set('service-nodeports', 'map'),
    balancers: set('balancers', 'vmap'),
    nodePortBalancers: set('nodeport-balancers', 'vmap'),
    endpoints: set('endpoints', 'map'),
    nodePortEndpoints: set('nodeport-endpoints', 'map'),
    noEndpointServices: set('no-endpoint-services', 'set'),
    noEndpointNodePorts: set('no-endpoint-nodeports', 'set'),
    clusterIps: set('cluster-ips', 'set'),
    nodePortIps: set('nodeport-ips', 'set'),
    hairpins: set('hairpin-connections', 'set'),
    affinityServices: set('affinity-services', 'map'),
    affinityNodePorts: set('affinity-nodeports', 'map'),
    learners: set('learners', 'vmap'),
    affinity: set('affinity', 'map'),
  };
}

/** The sets whose elements follow from the Services alone: read back at start and brought to what they should be. */
export function elementSets(sets: ProxySets): NftSet[] {
  return [
    sets.serviceIps,
    sets.serviceNodePorts,
    sets.endpoints,
    sets.nodePortEndpoints,
    sets.noEndpointServices,
    sets.noEndpointNodePorts,
    sets.clusterIps,
    sets.nodePortIps,
    sets.hairpins,
    sets.affinityServices,
    sets.affinityNodePorts,
  ];
}
