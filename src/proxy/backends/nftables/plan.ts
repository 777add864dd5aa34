import {
  addressField,
  endpointData,
  indexField,
  portField,
  protocolField,
} from '../../../kernel/nft/field.ts';
import type { NftSet } from '../../../kernel/nft/objects.ts';
import type { ServicePort } from '../../services/service-port.ts';
import { assignNumbers } from './assignment.ts';
import type { ProxySets } from './sets.ts';
import { MAX_ENDPOINTS, sharedChainSelector, type SharedChain } from './shared-chain.ts';

/** What a service port needs in the kernel, in the kernel's own terms. */
export interface PlannedPort {
  /** address . protocol . port; undefined: another Service has it. */
  readonly entry: string | undefined;
  /** protocol . port; undefined: there is none, or another Service has it. */
  readonly nodeEntry: string | undefined;
  /** ClusterIP. */
  readonly address: string;
  readonly protocol: ServicePort['protocol'];
  readonly affinitySeconds: number;
  /** Endpoints (address . port) by their numbers. */
  readonly endpoints: readonly string[];
  /** Addresses of those on this node. */
  readonly localAddresses: readonly string[];
}

const NONE: readonly string[] = [];

/** Keys under which a service port is found. */
export function entriesOf(port: ServicePort): { entry: string; nodeEntry: string | undefined } {
  const protocol = protocolField(port.protocol);
  return {
    entry: addressField(port.address) + protocol + portField(port.port),
    nodeEntry: port.nodePort === 0 ? undefined : protocol + portField(port.nodePort),
  };
}

/** `previous`: the numbers that endpoints have now. */
export function planPort(
  port: ServicePort,
  entries: { readonly entry: string | undefined; readonly nodeEntry: string | undefined },
  previous: readonly string[],
): PlannedPort {
  const usable =
    port.endpoints.length > MAX_ENDPOINTS ? port.endpoints.slice(0, MAX_ENDPOINTS) : port.endpoints;
  const wanted = usable.map(({ address, port }) => endpointData(address, port));
  const local = usable.filter((endpoint) => endpoint.local);
  return {
    entry: entries.entry,
    nodeEntry: entries.nodeEntry,
    address: addressField(port.address),
    protocol: port.protocol,
    affinitySeconds: port.affinitySeconds,
    endpoints: assignNumbers(previous, wanted),
    localAddresses:
      local.length === 0 ? NONE : [...new Set(local.map(({ address }) => addressField(address)))],
  };
}

type Visit = (set: NftSet, key: string, value?: string) => void;

/** Elements that belong to this service port alone. */
export function visitOwnElements(plan: PlannedPort, sets: ProxySets, visit: Visit): void {
  if (plan.entry !== undefined) visitEntry(plan, plan.entry, SERVICE_SETS, sets, visit);
  if (plan.nodeEntry !== undefined) visitEntry(plan, plan.nodeEntry, NODE_PORT_SETS, sets, visit);
}

/** Elements that other service ports may need too. */
export function visitSharedElements(plan: PlannedPort, sets: ProxySets, visit: Visit): void {
  visit(sets.clusterIps, plan.address);
  for (const address of plan.localAddresses) visit(sets.hairpins, address + address);
}

/** Chains that the elements of this service port lead to. */
export function chainsOf(plan: PlannedPort): SharedChain[] {
  const { affinitySeconds } = plan;
  const endpoints = plan.endpoints.length;
  if (endpoints === 0) return [];
  const affinity = affinitySeconds > 0;
  const chains: SharedChain[] = [];
  if (plan.entry !== undefined) chains.push({ kind: 'service', endpoints, affinity });
  if (plan.nodeEntry !== undefined) chains.push({ kind: 'nodeport', endpoints, affinity });
  if (affinity) chains.push({ kind: 'learn', timeoutSeconds: affinitySeconds });
  return chains;
}

interface EntrySets {
  readonly kind: 'service' | 'nodeport';
  readonly balanced: 'serviceIps' | 'serviceNodePorts';
  readonly endpoints: 'endpoints' | 'nodePortEndpoints';
  readonly refused: 'noEndpointServices' | 'noEndpointNodePorts';
  readonly affinity: 'affinityServices' | 'affinityNodePorts';
}

const SERVICE_SETS: EntrySets = {
  kind: 'service',
  balanced: 'serviceIps',
  endpoints: 'endpoints',
  refused: 'noEndpointServices',
  affinity: 'affinityServices',
};

const NODE_PORT_SETS: EntrySets = {
  kind: 'nodeport',
  balanced: 'serviceNodePorts',
  endpoints: 'nodePortEndpoints',
  refused: 'noEndpointNodePorts',
  affinity: 'affinityNodePorts',
};

function visitEntry(plan: PlannedPort, entry: string, names: EntrySets, sets: ProxySets, visit: Visit): void {
  const endpoints = plan.endpoints.length;
  if (endpoints === 0) {
    visit(sets[names.refused], entry);
    return;
  }
  const affinity = plan.affinitySeconds > 0;
  visit(sets[names.balanced], entry, sharedChainSelector({ kind: names.kind, endpoints, affinity }));
  for (let number = 0; number < endpoints; number += 1) {
    visit(sets[names.endpoints], entry + indexField(number), plan.endpoints[number]);
  }
  if (affinity) {
    const learn = sharedChainSelector({ kind: 'learn', timeoutSeconds: plan.affinitySeconds });
    visit(sets[names.affinity], entry, learn);
  }
}
