import { isIPv4 } from 'node:net';
import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { isPort, ProblemList, type Problem } from './problem.ts';
import { wellFormed, type Shape } from './shape.ts';
import { specialKind } from './special-address.ts';
import { PROXY_NAME_LABEL, readProtocol, type Protocol } from './service-spec.ts';

/** Bits of `SliceEndpoint.state`. An endpoint with neither of the first two gets no connections. */
export const READY = 1;
/** Terminating, yet still serving: taken when no endpoint is ready (KEP-1669). */
export const SERVING_TERMINATING = 2;
/** On this node. */
export const LOCAL = 4;
/** Has hints for zones, and this node's zone is among them. */
export const ZONE_HINTS = 8;
export const FOR_THIS_ZONE = 16;
/** Has hints for nodes, and this node is among them. */
export const NODE_HINTS = 32;
export const FOR_THIS_NODE = 64;

interface SliceEndpoint {
  /** In canonical form. */
  readonly address: string;
  readonly state: number;
}

interface SlicePort {
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
}

/** What the proxy keeps of an EndpointSlice. */
export interface SliceSpec {
  /** `namespace/name` of the Service; empty: the slice belongs to none, or to another proxy. */
  readonly service: string;
  readonly family: IpFamily;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly SliceEndpoint[];
  /** When what led to the slice's last change happened, ms since the epoch; 0: not told. */
  readonly changedAtMs: number;
  readonly problems: readonly Problem[];
}

export const SERVICE_NAME_LABEL = 'kubernetes.io/service-name';
export const LAST_CHANGE_ANNOTATION = 'endpoints.kubernetes.io/last-change-trigger-time';

const ADDRESS_TYPES: ReadonlySet<string> = new Set(['IPv4', 'IPv6', 'FQDN']);

/** Where this proxy stands: what topology hints and locality are measured by. */
export interface NodeTopology {
  readonly nodeName: string;
  /** Label topology.kubernetes.io/zone of the node; empty: it has none. */
  readonly zone: string;
}

/** Of what is read of a slice. */
const SHAPE: Shape = {
  metadata: {
    labels: { [SERVICE_NAME_LABEL]: 'text', [PROXY_NAME_LABEL]: 'text' },
    annotations: { [LAST_CHANGE_ANNOTATION]: 'text' },
  },
  addressType: 'text',
  ports: [{ name: 'text', protocol: 'text', port: 'number' }],
  endpoints: [
    {
      addresses: ['text'],
      conditions: { ready: 'boolean', serving: 'boolean', terminating: 'boolean' },
      nodeName: 'text',
      hints: { forZones: [{ name: 'text' }], forNodes: [{ name: 'text' }] },
    },
  ],
};

/** An endpoint as it stands in the slice; whether its address is one is not known yet. */
export interface EndpointReading {
  /** The first: all are the same pod, and the API asks consumers to take that one. */
  readonly address: string;
  readonly state: number;
}

/** A slice whose endpoints were read by themselves. */
export interface SliceReading extends Pick<EndpointSlice, 'metadata' | 'addressType' | 'ports'> {
  readonly endpoints?: readonly EndpointReading[];
}

/** `node`: this node, or its name where zones do not matter. */
export function projectSlice(object: EndpointSlice, node: NodeTopology | string): SliceSpec {
  const topology = typeof node === 'string' ? { nodeName: node, zone: '' } : node;
  const problems = problemsOf(object);
  const { endpoints, ...slice } = wellFormed(object, SHAPE, problems);
  const read = (endpoint: Endpoint): EndpointReading => ({
    address: endpoint.addresses?.[0] ?? '',
    state: readState(endpoint, topology),
  });
  return project({ ...slice, endpoints: (endpoints ?? []).map(read) }, problems);
}

/** Of what has no fields of another kind than their types say, as protobuf cannot have. */
export function projectReadSlice(slice: SliceReading): SliceSpec {
  return project(slice, problemsOf(slice));
}

function problemsOf({ metadata }: Pick<EndpointSlice, 'metadata'>): ProblemList {
  return new ProblemList(`EndpointSlice ${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`);
}

function project(slice: SliceReading, problems: ProblemList): SliceSpec {
  const { namespace = '', labels = {} } = slice.metadata ?? {};
  const serviceName = labels[SERVICE_NAME_LABEL] ?? '';
  const ours = slice.addressType === 'IPv4' || slice.addressType === 'IPv6';
  const ignored = serviceName === '' || labels[PROXY_NAME_LABEL] !== undefined || !ours;
  const family = slice.addressType === 'IPv6' ? 6 : 4;
  if (!ADDRESS_TYPES.has(slice.addressType)) {
    problems.add('addressType', `"${slice.addressType}" is not one of IPv4, IPv6, FQDN`);
  }
  return {
    service: ignored ? '' : `${namespace}/${serviceName}`,
    family,
    ports: ignored ? [] : readPorts(slice, problems),
    endpoints: ignored ? [] : readEndpoints(slice.endpoints ?? [], family, problems),
    changedAtMs: readTime(slice.metadata?.annotations?.[LAST_CHANGE_ANNOTATION]),
    problems: problems.list(),
  };
}

function readPorts(slice: SliceReading, problems: ProblemList): SlicePort[] {
  const found: SlicePort[] = [];
  for (const [index, { name = '', port, protocol: text }] of (slice.ports ?? []).entries()) {
    // Without a number: all ports, which is nothing that a Service could be balanced to.
    if (port === undefined || port === null) continue;
    const protocol = readProtocol(text);
    if (protocol === undefined) {
      problems.add(`ports[${index}].protocol`, `"${text}" is not one of TCP, UDP, SCTP`);
    } else if (isPort(port)) found.push({ name: name ?? '', protocol, port });
    else problems.add(`ports[${index}].port`, `${String(port)} is not a port number from 1 to 65535`);
  }
  return found;
}

function readEndpoints(
  endpoints: readonly EndpointReading[],
  family: IpFamily,
  problems: ProblemList,
): SliceEndpoint[] {
  const found: SliceEndpoint[] = [];
  for (const [index, endpoint] of endpoints.entries()) {
    const { address: text, state } = endpoint;
    if ((state & (READY | SERVING_TERMINATING)) === 0) continue;
    const address = canonical(text, family);
    const special = address === undefined ? undefined : specialKind(address);
    if (address !== undefined && special === undefined) {
      found.push(address === text ? endpoint : { address, state });
    } else {
      const what = special ?? `not an IPv${family} address`;
      problems.add(`endpoints[${index}].addresses[0]`, `"${text}" is ${what}`);
    }
  }
  return found;
}

function readState({ conditions, nodeName, hints }: Endpoint, topology: NodeTopology): number {
  const { ready, serving, terminating } = conditions ?? {};
  const local = nodeName !== undefined && nodeName === topology.nodeName ? LOCAL : 0;
  return stateOf(ready ?? true, serving ?? true, terminating ?? false, local, hintsOf(hints, topology));
}

/** Absent conditions mean: ready, serving, not terminating; as in kube-proxy (newEndpointSliceInfo, pkg/proxy). */
export function stateOf(
  ready: boolean,
  serving: boolean,
  terminating: boolean,
  local: number,
  hints: number,
): number {
  if (ready) return READY | local | hints;
  return (serving && terminating ? SERVING_TERMINATING : 0) | local;
}

export interface Hints {
  readonly forZones?: readonly { readonly name: string }[] | null;
  readonly forNodes?: readonly { readonly name: string }[] | null;
}

/** What matters of the hints to this node, so that a hundred thousand endpoints need not keep them. */
export function hintsOf(hints: Hints | null | undefined, { nodeName, zone }: NodeTopology): number {
  if (hints === undefined || hints === null) return 0;
  const { forZones, forNodes } = hints;
  let bits = 0;
  if (forZones && forZones.length > 0) {
    bits |= ZONE_HINTS;
    if (forZones.some(({ name }) => name === zone)) bits |= FOR_THIS_ZONE;
  }
  if (forNodes && forNodes.length > 0) {
    bits |= NODE_HINTS;
    if (forNodes.some(({ name }) => name === nodeName)) bits |= FOR_THIS_NODE;
  }
  return bits;
}

function canonical(text: string, family: IpFamily): string | undefined {
  // IPv4 text that is valid is canonical: no need for an object each for a hundred thousand endpoints.
  if (family === 4) return isIPv4(text) ? text : undefined;
  const ip = Ip.tryParse(text);
  return ip?.family === 6 ? ip.toString() : undefined;
}

function readTime(text: string | undefined): number {
  if (text === undefined) return 0;
  const time = Date.parse(text);
  return Number.isNaN(time) ? 0 : time;
}
