import {
  addressField,
  endpointData,
  indexField,
  portField,
  protocolField,
} from '../../../kernel/nft/field.ts';
import type { NftSet } from '../../../kernel/nft/objects.ts';
import type { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { assignNumbers } from './assignment.ts';
import { balancerFor, MAX_ENDPOINTS, poolField, type Balancer, type Way } from './balancer.ts';
import { REFUSAL } from './refusal.ts';
import { KIND, poolOf, serviceCode, type Kind } from './service-code.ts';
import type { ProxySets } from './sets.ts';
import { rangeKeys, rangesField } from './source-ranges.ts';

/** An address at which a service port is reached. */
export interface Entry {
  /** address . protocol . port, or protocol . port of a node port that answers on all addresses of the node. */
  readonly key: string;
  readonly kind: Kind;
  /** Only those in the source ranges may use it. */
  readonly guarded: boolean;
  readonly onAllAddresses: boolean;
}

/** Endpoints that a service port balances over. */
export interface Pool {
  readonly local: boolean;
  /** Endpoints (address . port) by the numbers that are drawn. */
  readonly endpoints: readonly string[];
  /** With affinity: each endpoint's own number, in the same order. */
  readonly own: readonly number[] | undefined;
}

/** What a service port needs in the kernel, in the kernel's own terms. */
export interface PlannedPort {
  readonly number: number;
  /** Less those that another service port has. */
  readonly entries: readonly Entry[];
  readonly pools: readonly Pool[];
  readonly hasEndpoints: boolean;
  readonly affinitySeconds: number;
  /** ClusterIP. */
  readonly address: string;
  /** Addresses of endpoints on this node. */
  readonly localAddresses: readonly string[];
  /** Keys of `source-ranges`. */
  readonly ranges: readonly string[];
}

const NONE: readonly never[] = [];
/** Own numbers are above those that are drawn. */
const FIRST_OWN_NUMBER = 0x10000;

/** An address with the words for it in messages. */
export interface NamedEntry extends Entry {
  readonly what: string;
}

/** All addresses of a service port, each once. */
export function entriesOf(port: ServicePort, settings: ProxySettings): NamedEntry[] {
  const protocol = protocolField(port.protocol);
  const entries = new Map<string, NamedEntry>();
  const add = (address: string, number: number, kind: Kind, guarded: boolean): void => {
    const key = addressField(address) + protocol + portField(number);
    if (entries.has(key) && !guarded) return;
    const before = entries.get(key)?.kind ?? kind;
    const what = `${address} ${port.protocol} port ${number}`;
    entries.set(key, { key, kind: before, guarded, onAllAddresses: false, what });
  };
  add(port.address, port.port, port.internalLocal ? KIND.clusterLocal : KIND.cluster, false);
  const external = port.externalLocal ? KIND.externalLocal : KIND.external;
  for (const address of port.externalIps) add(address, port.port, external, false);
  const guarded = port.sourceRanges !== undefined;
  for (const address of port.loadBalancerIps) add(address, port.port, external, guarded);
  const list = [...entries.values()];
  if (port.nodePort === 0) return list;
  const what = `node port ${port.protocol} ${port.nodePort}`;
  const nodePort = protocol + portField(port.nodePort);
  const common = { kind: external, guarded: false, what };
  if (settings.nodePortAddresses === 'all')
    return [...list, { ...common, key: nodePort, onAllAddresses: true }];
  for (const ip of settings.nodePortAddresses) {
    if (ip.family !== port.family) continue;
    const key = addressField(ip.toString()) + nodePort;
    if (!entries.has(key)) list.push({ ...common, key, onAllAddresses: false });
  }
  return list;
}

/** What of a service port's earlier plan later ones keep as far as they can. */
export interface PreviousPlan {
  readonly number: number;
  readonly pools: readonly Pool[];
}

export function planPort(
  port: ServicePort,
  entries: readonly Entry[],
  previous: PreviousPlan,
  nodeIps: readonly Ip[],
): PlannedPort {
  const pools: Pool[] = [];
  const local = new Set<string>();
  const addPool = (endpoints: readonly ServiceEndpoint[], isLocal: boolean): void => {
    if (endpoints.length === 0) return;
    const before = previous.pools.find((pool) => pool.local === isLocal);
    pools.push(planPool(endpoints, isLocal, port.affinitySeconds > 0, before));
    for (const endpoint of endpoints) if (endpoint.local) local.add(addressField(endpoint.address));
  };
  if (entries.some(({ kind }) => kind !== KIND.clusterLocal)) addPool(port.endpoints, false);
  if (entries.some(({ kind }) => isLocalKind(kind))) addPool(port.localEndpoints, true);
  const guarded = entries.some((entry) => entry.guarded);
  return {
    number: previous.number,
    entries,
    pools,
    hasEndpoints: port.hasEndpoints,
    affinitySeconds: port.affinitySeconds,
    address: addressField(port.address),
    localAddresses: local.size === 0 ? NONE : [...local],
    ranges: guarded ? rangeKeys(previous.number, port, nodeIps) : NONE,
  };
}

function planPool(
  endpoints: readonly ServiceEndpoint[],
  local: boolean,
  affinity: boolean,
  before: Pool | undefined,
): Pool {
  const usable = endpoints.length > MAX_ENDPOINTS ? endpoints.slice(0, MAX_ENDPOINTS) : endpoints;
  const wanted = usable.map(({ address, port }) => endpointData(address, port));
  const numbered = assignNumbers(before?.endpoints ?? NONE, wanted);
  return { local, endpoints: numbered, own: affinity ? ownNumbers(numbered, before) : undefined };
}

function ownNumbers(endpoints: readonly string[], before: Pool | undefined): number[] {
  const known = new Map(before?.own?.map((number, index) => [before.endpoints[index], number]));
  let next = Math.max(FIRST_OWN_NUMBER, ...[...known.values()].map((number) => number + 1));
  return endpoints.map((endpoint) => known.get(endpoint) ?? next++);
}

const isLocalKind = (kind: Kind): boolean => kind === KIND.clusterLocal || kind === KIND.externalLocal;

type Visit = (set: NftSet, key: string, value?: string) => void;

/** Elements that belong to this service port alone. */
export function visitOwnElements(plan: PlannedPort, sets: ProxySets, visit: Visit): void {
  for (const entry of plan.entries) visitEntry(plan, entry, sets, visit);
  for (const pool of plan.pools) visitPool(plan, pool, sets, visit);
  for (const range of plan.ranges) visit(sets.sourceRanges, range);
}

/** Elements that other service ports may need too. */
export function visitSharedElements(plan: PlannedPort, sets: ProxySets, visit: Visit): void {
  visit(sets.clusterIps, plan.address);
  for (const address of plan.localAddresses) visit(sets.hairpins, address + address);
}

/** Chains that the elements of this service port lead to. */
export function balancersOf(plan: PlannedPort): { way: Way; balancer: Balancer }[] {
  const found: { way: Way; balancer: Balancer }[] = [];
  const { affinitySeconds } = plan;
  for (const pool of plan.pools) {
    const balancer = balancerFor(pool.endpoints.length, affinitySeconds);
    // What large pools of service ports with affinity are reached through.
    const first = { size: 0, affinitySeconds };
    for (const { kind, onAllAddresses } of plan.entries) {
      const leads = isLocalKind(kind) === pool.local;
      if (!leads && kind !== KIND.externalLocal) continue;
      const way = onAllAddresses ? (leads ? 'nodeport' : 'nodeport-all') : leads ? 'lb' : 'lb-all';
      found.push({ way, balancer });
      if (balancer.size > 0) found.push({ way, balancer: first });
    }
  }
  return found;
}

function visitEntry(plan: PlannedPort, entry: Entry, sets: ProxySets, visit: Visit): void {
  const { key, kind, onAllAddresses } = entry;
  const served = plan.pools.some((pool) => pool.local === isLocalKind(kind));
  if (served || (kind === KIND.externalLocal && plan.pools.length > 0)) {
    const set = onAllAddresses ? sets.serviceNodePorts : sets.serviceIps;
    visit(set, key, serviceCode(plan.number, kind, plan.affinitySeconds > 0));
  }
  if (!served) {
    const set = onAllAddresses ? sets.noEndpointNodePorts : sets.noEndpointServices;
    visit(set, key, plan.hasEndpoints ? REFUSAL.drop : REFUSAL.reject);
  }
  if (entry.guarded) visit(sets.firewallIps, key, rangesField(plan.number));
}

function visitPool(plan: PlannedPort, pool: Pool, sets: ProxySets, visit: Visit): void {
  const { endpoints, own } = pool;
  const key = poolOf(plan.number, pool.local, own !== undefined);
  visit(sets.pools, key, poolField(endpoints.length, plan.affinitySeconds));
  for (let number = 0; number < endpoints.length; number += 1) {
    if (own === undefined) visit(sets.endpoints, key + indexField(number), endpoints[number]);
    else {
      const ownNumber = indexField(own[number] ?? 0);
      visit(sets.slots, key + indexField(number), ownNumber);
      visit(sets.endpoints, key + ownNumber, endpoints[number]);
    }
  }
}
