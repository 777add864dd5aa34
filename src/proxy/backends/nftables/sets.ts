import type { NftFieldType, NftSet, NftSetKind, NftSetType, NftTable } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { Way } from './balancer.ts';

const TABLE_NAME = 'flatnet-proxy';

/**
 * A set that the packet path fills must have a bound. kube-proxy's is 65,535 clients of each service port; here all
 * share one set, of some 30 MB of kernel memory when full.
 */
const AFFINITY_SIZE = 262_144;

/**
 * The sets and maps of one family's table; names are kube-proxy's where the meaning is the same. A service port has a
 * number, and the endpoints that it balances over are its pools: those that the policy Cluster admits, and those that
 * the policy Local does. All its addresses lead to the same pools.
 */
export interface ProxySets {
  readonly table: NftTable;
  /** address . protocol . port : number of the service port and kind of the address (service-code.ts). */
  readonly serviceIps: NftSet;
  /** protocol . port : the same, for node ports that answer on all addresses of the node. */
  readonly serviceNodePorts: NftSet;
  /** pool : how to balance over it (balancer.ts). */
  readonly pools: NftSet;
  /** pool . number : endpoint's address . port. With affinity, the number is the endpoint's own. */
  readonly endpoints: NftSet;
  /** pool . number : an endpoint's own number, which stays with it. Of pools with affinity. */
  readonly slots: NftSet;
  /** client . pool : an endpoint's own number. Filled by the packet path. */
  readonly affinity: NftSet;
  /** address . protocol . port of service ports without endpoints : whether the client is told (refusal.ts). */
  readonly noEndpointServices: NftSet;
  /** protocol . port : the same. */
  readonly noEndpointNodePorts: NftSet;
  /** address . protocol . port of load balancers that not everybody may use : number of their ranges. */
  readonly firewallIps: NftSet;
  /** number of ranges and length of a prefix . the prefix: who may use them. */
  readonly sourceRanges: NftSet;
  /** All ClusterIPs, whatever their ports. */
  readonly clusterIps: NftSet;
  /** address . address of each endpoint on this node: it may reach itself through a Service. */
  readonly hairpins: NftSet;
  /** code of a pool's size . random draw : number. The same whatever Services there are. */
  readonly draws: NftSet;
  /** Kind of an address : the chain that knows what to do. */
  readonly kinds: NftSet;
  readonly nodePortKinds: NftSet;
  /** How large a pool is : the chain that balances over large ones. By the way to the pool. */
  readonly large: Readonly<Record<Way, NftSet>>;
  /** For how long clients stay : the chain that balances so. */
  readonly sticky: Readonly<Record<Way, NftSet>>;
  /** Whether the client is told : the verdict. */
  readonly refusals: NftSet;
}

const byWay = (make: (way: Way) => NftSet): Record<Way, NftSet> => ({
  lb: make('lb'),
  'lb-all': make('lb-all'),
  nodeport: make('nodeport'),
  'nodeport-all': make('nodeport-all'),
});

export function proxySets(family: IpFamily): ProxySets {
  const table: NftTable = { family: family === 4 ? 'ip' : 'ip6', name: TABLE_NAME };
  const set = (name: string, kind: NftSetKind): NftSet => ({ table, name, kind });
  return {
    table,
    serviceIps: set('service-ips', 'map'),
    serviceNodePorts: set('service-nodeports', 'map'),
    pools: set('pools', 'map'),
    endpoints: set('endpoints', 'map'),
    slots: set('slots', 'map'),
    affinity: set('affinity', 'map'),
    noEndpointServices: set('no-endpoint-services', 'map'),
    noEndpointNodePorts: set('no-endpoint-nodeports', 'map'),
    firewallIps: set('firewall-ips', 'map'),
    sourceRanges: set('source-ranges', 'set'),
    clusterIps: set('cluster-ips', 'set'),
    hairpins: set('hairpin-connections', 'set'),
    draws: set('draws', 'map'),
    kinds: set('kinds', 'vmap'),
    nodePortKinds: set('nodeport-kinds', 'vmap'),
    large: byWay((way) => set(`${way}-large`, 'vmap')),
    sticky: byWay((way) => set(`${way}-sticky`, 'vmap')),
    refusals: set('refusals', 'vmap'),
  };
}

/** The sets whose elements follow from the Services alone: read back at start and brought to what they should be. */
export function elementSets(sets: ProxySets): NftSet[] {
  return [
    sets.serviceIps,
    sets.serviceNodePorts,
    sets.pools,
    sets.endpoints,
    sets.slots,
    sets.noEndpointServices,
    sets.noEndpointNodePorts,
    sets.firewallIps,
    sets.sourceRanges,
    sets.clusterIps,
    sets.hairpins,
  ];
}

/** The maps that lead to chains: the same whatever Services there are, but for chains that are rarely needed. */
export function verdictMaps(sets: ProxySets): NftSet[] {
  return [
    sets.kinds,
    sets.nodePortKinds,
    ...Object.values(sets.large),
    ...Object.values(sets.sticky),
    sets.refusals,
  ];
}

/**
 * What the fields of each set are. Numbers that are drawn or counted have no type that nft could name; `mark` is as
 * wide, in the same byte order.
 */
export function setTypes(sets: ProxySets, family: IpFamily): Map<NftSet, NftSetType> {
  const address: NftFieldType = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const port: readonly NftFieldType[] = ['inet_proto', 'inet_service'];
  const mark: readonly NftFieldType[] = ['mark'];
  const endpoint: readonly NftFieldType[] = [address, 'inet_service'];
  return new Map<NftSet, NftSetType>([
    [sets.serviceIps, { key: [address, ...port], data: mark }],
    [sets.serviceNodePorts, { key: port, data: mark }],
    [sets.pools, { key: mark, data: mark }],
    [sets.endpoints, { key: ['mark', 'mark'], data: endpoint }],
    [sets.slots, { key: ['mark', 'mark'], data: mark }],
    [sets.affinity, { key: [address, 'mark'], data: mark, dynamicSize: AFFINITY_SIZE }],
    [sets.noEndpointServices, { key: [address, ...port], data: mark }],
    [sets.noEndpointNodePorts, { key: port, data: mark }],
    [sets.firewallIps, { key: [address, ...port], data: mark }],
    [sets.sourceRanges, { key: ['mark', address] }],
    [sets.draws, { key: ['mark', 'mark'], data: mark }],
    [sets.clusterIps, { key: [address] }],
    [sets.hairpins, { key: [address, address] }],
    ...verdictMaps(sets).map((set) => [set, { key: mark }] as const),
  ]);
}
