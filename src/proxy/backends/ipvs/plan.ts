import { realServerText, SERVER_FLAGS, serverText } from '../../../kernel/ipvs/objects.ts';
import type { RealServerKey, Scheduler, VirtualServer } from '../../../kernel/ipvs/objects.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { SetPurpose } from './set-names.ts';

/** What a plan depends on beside the service port. */
export interface NodeView {
  readonly scheduler: Scheduler;
  /** The node's InternalIPs of the family. */
  readonly nodeIps: readonly Ip[];
  /** Where node ports answer. */
  readonly nodePortAddresses: readonly string[];
  /** Addresses that other devices than kube-ipvs0 have: they need not be put there. */
  readonly ownAddresses: ReadonlySet<string>;
}

/** An entry of one of the ipsets. */
export interface PlannedEntry {
  readonly purpose: SetPurpose;
  readonly entry: string;
}

/** What one address and port of a Service needs. */
export interface PlannedServer {
  /** As `serverText` names it. */
  readonly key: string;
  /** For messages: `10.96.0.1 TCP port 80`, `node port TCP 30080`. */
  readonly what: string;
  readonly server: VirtualServer;
  /** By `realServerText`. */
  readonly destinations: ReadonlyMap<string, RealServerKey>;
  /** Whether the address has to be on kube-ipvs0. */
  readonly bound: boolean;
  readonly entries: readonly PlannedEntry[];
}

export interface PlannedPort {
  readonly servers: readonly PlannedServer[];
  /** Those that belong to no single address. */
  readonly entries: readonly PlannedEntry[];
}

const NODE_PORT_SETS = {
  TCP: ['nodePortTcp', 'nodePortLocalTcp'],
  UDP: ['nodePortUdp', 'nodePortLocalUdp'],
  SCTP: ['nodePortSctp', 'nodePortLocalSctp'],
} as const;

/** Virtual servers, real servers and set entries of a service port (kube-proxy 1.36, pkg/proxy/ipvs/proxier.go). Pure. */
export function planPort(port: ServicePort, node: NodeView): PlannedPort {
  const servers = new Map<string, PlannedServer>();
  const add = (planned: PlannedServer): void => {
    const same = servers.get(planned.key);
    // One address may be external IP and load balancer's at once.
    servers.set(
      planned.key,
      same === undefined ? planned : { ...same, entries: [...same.entries, ...planned.entries] },
    );
  };
  add(clusterServer(port, node));
  for (const address of port.externalIps) add(externalServer(port, node, address));
  for (const address of port.loadBalancerIps) add(balancerServer(port, node, address));
  if (port.nodePort !== 0) {
    for (const address of node.nodePortAddresses) add(nodePortServer(port, node, address));
  }
  return { servers: [...servers.values()], entries: portEntries(port) };
}

function clusterServer(port: ServicePort, node: NodeView): PlannedServer {
  const { internalLocal, localEndpoints, endpoints, address } = port;
  const chosen = internalLocal ? localEndpoints : endpoints;
  const entry = entryOf(port, address, port.port);
  const entries: PlannedEntry[] = [{ purpose: 'clusterIp', entry }];
  if (chosen.length === 0) entries.push({ purpose: port.hasEndpoints ? 'noLocal' : 'noEndpoints', entry });
  return { ...serverOf(port, node, address, port.port, chosen), bound: true, entries };
}

function externalServer(port: ServicePort, node: NodeView, address: string): PlannedServer {
  const entry = entryOf(port, address, port.port);
  const purpose = port.externalLocal ? 'externalIpLocal' : 'externalIp';
  const entries: PlannedEntry[] = [{ purpose, entry }, ...policyEntries(port, entry)];
  const server = serverOf(port, node, address, port.port, externalEndpoints(port));
  return { ...server, bound: !node.ownAddresses.has(address), entries };
}

function balancerServer(port: ServicePort, node: NodeView, address: string): PlannedServer {
  const entry = entryOf(port, address, port.port);
  const entries: PlannedEntry[] = [{ purpose: 'loadBalancer', entry }, ...policyEntries(port, entry)];
  if (port.externalLocal) entries.push({ purpose: 'loadBalancerLocal', entry });
  if (port.sourceRanges !== undefined) {
    entries.push({ purpose: 'loadBalancerFirewall', entry });
    const ranges = port.sourceRanges.map((range) => Cidr.parse(range));
    for (const range of ranges.flatMap(supported)) {
      entries.push({ purpose: 'loadBalancerSourceCidr', entry: `${entry},${range.toString()}` });
    }
    // What the node itself sends has the address that it goes to as its source: it is on kube-ipvs0.
    if (node.nodeIps.some((ip) => ranges.some((range) => range.contains(ip)))) {
      entries.push({ purpose: 'loadBalancerSourceIp', entry: `${entry},${address}` });
    }
  }
  const server = serverOf(port, node, address, port.port, externalEndpoints(port));
  return { ...server, bound: !node.ownAddresses.has(address), entries };
}

function nodePortServer(port: ServicePort, node: NodeView, address: string): PlannedServer {
  const entry = entryOf(port, address, port.nodePort);
  const [all, local] = NODE_PORT_SETS[port.protocol];
  const inSet = port.protocol === 'SCTP' ? entry : String(port.nodePort);
  const entries: PlannedEntry[] = [{ purpose: all, entry: inSet }, ...policyEntries(port, entry)];
  if (port.externalLocal) entries.push({ purpose: local, entry: inSet });
  return {
    ...serverOf(port, node, address, port.nodePort, externalEndpoints(port)),
    what: `node port ${port.protocol} ${port.nodePort}`,
    bound: false,
    entries,
  };
}

/**
 * Local ones where there are any; else all, for pods and the node itself, while what comes from outside is dropped
 * before (`noLocalExternal`).
 */
function externalEndpoints({
  externalLocal,
  localEndpoints,
  endpoints,
}: ServicePort): readonly ServiceEndpoint[] {
  return externalLocal && localEndpoints.length > 0 ? localEndpoints : endpoints;
}

function policyEntries(port: ServicePort, entry: string): PlannedEntry[] {
  if (!port.hasEndpoints) return [{ purpose: 'noEndpoints', entry }];
  if (externalEndpoints(port).length === 0) return [{ purpose: 'noLocal', entry }];
  const onlyElsewhere = port.externalLocal && port.localEndpoints.length === 0;
  return onlyElsewhere ? [{ purpose: 'noLocalExternal', entry }] : [];
}

function serverOf(
  port: ServicePort,
  node: NodeView,
  address: string,
  number: number,
  endpoints: readonly ServiceEndpoint[],
): Omit<PlannedServer, 'bound' | 'entries'> {
  const server: VirtualServer = {
    protocol: port.protocol,
    address,
    port: number,
    scheduler: node.scheduler,
    flags: flagsOf(port, node.scheduler),
    timeoutSeconds: port.affinitySeconds,
    clientPrefixLength: port.family === 4 ? 32 : 128,
  };
  const destinations = new Map<string, RealServerKey>();
  for (const { address, port } of endpoints)
    destinations.set(realServerText({ address, port }), { address, port });
  const what = `${address} ${port.protocol} port ${number}`;
  return { key: serverText(server), what, server, destinations };
}

function flagsOf({ affinitySeconds }: ServicePort, scheduler: Scheduler): number {
  let flags = affinitySeconds > 0 ? SERVER_FLAGS.persistent : 0;
  // kube-proxy: by the client's port too, for connections of one client to spread.
  if (scheduler === 'mh') flags |= SERVER_FLAGS.mhPort;
  // Real servers that terminate have weight 0 and keep their place in sh's table: without, who is led there is refused.
  if (scheduler === 'sh') flags |= SERVER_FLAGS.shFallback;
  return flags;
}

function portEntries(port: ServicePort): PlannedEntry[] {
  const entries: PlannedEntry[] = [];
  const seen = new Set<string>();
  for (const endpoint of [...port.endpoints, ...port.localEndpoints]) {
    if (!endpoint.local) continue;
    const entry = `${entryOf(port, endpoint.address, endpoint.port)},${endpoint.address}`;
    if (!seen.has(entry)) entries.push({ purpose: 'loopBack', entry });
    seen.add(entry);
  }
  if (port.healthCheckNodePort !== 0) {
    entries.push({ purpose: 'healthCheckNodePort', entry: String(port.healthCheckNodePort) });
  }
  return entries;
}

function entryOf({ protocol }: ServicePort, address: string, port: number): string {
  return `${address},${protocol.toLowerCase()}:${port}`;
}

/** Sets of networks do not take prefix length 0: two halves are everything, too. */
function supported(range: Cidr): Cidr[] {
  if (range.prefixLength > 0) return [range];
  const half = new Cidr(range.first, 1);
  return [half, new Cidr(range.last, 1)];
}
