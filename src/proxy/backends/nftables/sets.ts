import type { NftSet, NftSetKind, NftTable } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';

export const TABLE_NAME = 'flatnet-proxy';

/** The sets and maps of one family's table; names are kube-proxy's where the meaning is the same. */
export interface ProxySets {
  readonly table: NftTable;
  /** address . protocol . port : the chain that balances. */
  readonly serviceIps: NftSet;
  /** protocol . port : the chain that balances. */
  readonly serviceNodePorts: NftSet;
  /** address . protocol . port . number : endpoint's address . port. */
  readonly endpoints: NftSet;
  /** protocol . port . number : endpoint's address . port. */
  readonly nodePortEndpoints: NftSet;
  /** address . protocol . port : what happens to those without endpoints. */
  readonly noEndpointServices: NftSet;
  readonly noEndpointNodePorts: NftSet;
  /** All ClusterIPs, whatever their ports. */
  readonly clusterIps: NftSet;
  /** The node's addresses on which node ports answer. */
  readonly nodePortIps: NftSet;
  /** address . address of each endpoint on this node: it may reach itself through a Service. */
  readonly hairpins: NftSet;
  /** address . protocol . port : the chain that remembers clients. */
  readonly affinityServices: NftSet;
  readonly affinityNodePorts: NftSet;
  /** client . address . protocol . port : endpoint's address . port. Filled by the packet path. */
  readonly affinity: NftSet;
}

export function proxySets(family: IpFamily): ProxySets {
  const table: NftTable = { family: family === 4 ? 'ip' : 'ip6', name: TABLE_NAME };
  const set = (name: string, kind: NftSetKind): NftSet => ({ table, name, kind });
  return {
    table,
    serviceIps: set('service-ips', 'vmap'),
    serviceNodePorts: set('service-nodeports', 'vmap'),
    endpoints: set('endpoints', 'map'),
    nodePortEndpoints: set('nodeport-endpoints', 'map'),
    noEndpointServices: set('no-endpoint-services', 'vmap'),
    noEndpointNodePorts: set('no-endpoint-nodeports', 'vmap'),
    clusterIps: set('cluster-ips', 'set'),
    nodePortIps: set('nodeport-ips', 'set'),
    hairpins: set('hairpin-connections', 'set'),
    affinityServices: set('affinity-services', 'vmap'),
    affinityNodePorts: set('affinity-nodeports', 'vmap'),
    affinity: set('affinity', 'map'),
  };
}
