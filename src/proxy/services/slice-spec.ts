import { isIPv4 } from 'node:net';
import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { isPort, ProblemList, type Problem } from './problem.ts';
import { PROXY_NAME_LABEL, readProtocol, type Protocol } from './service-spec.ts';

/** Bits of `SliceEndpoint.state`. An endpoint with neither of the first two gets no connections. */
export const READY = 1;
/** Terminating, yet still serving: taken when no endpoint is ready (KEP-1669). */
export const SERVING_TERMINATING = 2;
/** On this node. */
export const LOCAL = 4;

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

export function projectSlice(slice: EndpointSlice, nodeName: string): SliceSpec {
  const { namespace = '', name = '', labels = {} } = slice.metadata ?? {};
  const problems = new ProblemList(`EndpointSlice ${namespace}/${name}`);
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
    endpoints: ignored ? [] : readEndpoints(slice.endpoints ?? [], family, nodeName, problems),
    changedAtMs: readTime(slice.metadata?.annotations?.[LAST_CHANGE_ANNOTATION]),
    problems: problems.list(),
  };
}

function readPorts(slice: EndpointSlice, problems: ProblemList): SlicePort[] {
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
  endpoints: readonly Endpoint[],
  family: IpFamily,
  nodeName: string,
  problems: ProblemList,
): SliceEndpoint[] {
  const found: SliceEndpoint[] = [];
  for (const [index, endpoint] of endpoints.entries()) {
    const state = readState(endpoint, nodeName);
    if ((state & (READY | SERVING_TERMINATING)) === 0) continue;
    // All addresses of one endpoint are the same pod; the API asks consumers to take the first.
    const text = endpoint.addresses?.[0] ?? '';
    const address = canonical(text, family);
    if (address !== undefined) found.push({ address, state });
    else problems.add(`endpoints[${index}].addresses[0]`, `"${text}" is not an IPv${family} address`);
  }
  return found;
}

/** Absent conditions mean: ready, serving, not terminating. */
function readState({ conditions, nodeName }: Endpoint, thisNode: string): number {
  const ready = conditions?.ready ?? true;
  const serving = conditions?.serving ?? ready;
  const terminating = conditions?.terminating ?? false;
  const local = nodeName !== undefined && nodeName === thisNode ? LOCAL : 0;
  if (ready) return READY | local;
  return (serving && terminating ? SERVING_TERMINATING : 0) | local;
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
