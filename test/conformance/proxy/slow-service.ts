import { isIPv4, isIPv6 } from 'node:net';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { IpFamily } from '../../../src/net/ip.ts';

// The meaning of Services and EndpointSlices once more, from the API's own documentation and kube-proxy's behaviour, with
// nothing of the proxy's code: slow, and meant to be read beside the specification.

export type SlowProtocol = 'TCP' | 'UDP' | 'SCTP';

export interface SlowEndpoint {
  readonly address: string;
  readonly port: number;
  readonly local: boolean;
}

export interface SlowPort {
  /** As ServicePort has it. */
  readonly id: string;
  readonly family: IpFamily;
  readonly protocol: SlowProtocol;
  readonly port: number;
  readonly clusterIp: string;
  readonly nodePort: number | undefined;
  readonly externalIps: readonly string[];
  readonly loadBalancerIps: readonly string[];
  /** Undefined: everybody may use the load balancer's addresses. */
  readonly sourceRanges: readonly string[] | undefined;
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  readonly clusterEndpoints: readonly SlowEndpoint[];
  readonly localEndpoints: readonly SlowEndpoint[];
  /** Somebody, anywhere, could take a connection. */
  readonly anyEndpoints: boolean;
}

export interface SlowNode {
  readonly name: string;
  readonly zone: string;
}

const OTHER_PROXY = 'service.kubernetes.io/service-proxy-name';
const SERVICE_NAME = 'kubernetes.io/service-name';
const FAMILIES = [4, 6] as const;

export function slowPorts(service: Service, slices: readonly EndpointSlice[], node: SlowNode): SlowPort[] {
  const { spec = {}, metadata = {} } = service;
  const clusterIps = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ''];
  const unbalanced =
    metadata.labels?.[OTHER_PROXY] !== undefined ||
    spec.type === 'ExternalName' ||
    spec.clusterIP === 'None' ||
    ['', 'None'].includes(clusterIps[0] ?? '');
  if (unbalanced) return [];
  const ports = goodPorts(spec.ports ?? []);
  return FAMILIES.flatMap((family) => {
    const clusterIp = clusterIps.find((ip) => isOf(ip, family) && !isSpecial(ip));
    if (clusterIp === undefined) return [];
    return ports.map((port): SlowPort => {
      const own = candidates(service, slices, family, port, node);
      const access = externalAccess(service, family, clusterIps);
      const reached =
        port.nodePort !== undefined || access.externalIps.length + access.loadBalancerIps.length > 0;
      const internalLocal = spec.internalTrafficPolicy === 'Local';
      const type = spec.type ?? 'ClusterIP';
      const forOutside = type !== 'ClusterIP' || (spec.externalIPs?.length ?? 0) > 0;
      const externalLocal = spec.externalTrafficPolicy === 'Local' && forOutside && reached;
      return {
        id: `${metadata.namespace}/${metadata.name}:${port.port}/${port.protocol}/${family}`,
        family,
        protocol: port.protocol,
        port: port.port,
        clusterIp,
        nodePort: port.nodePort,
        ...access,
        internalLocal,
        externalLocal,
        clusterEndpoints: clusterPolicy(own, node),
        localEndpoints: readyOrServing(own.filter(({ local }) => local)),
        anyEndpoints: readyOrServing(own).length > 0,
      };
    });
  });
}

interface GoodPort {
  readonly name: string;
  readonly protocol: SlowProtocol;
  readonly port: number;
  readonly nodePort: number | undefined;
}

function goodPorts(ports: NonNullable<NonNullable<Service['spec']>['ports']>): GoodPort[] {
  const good: GoodPort[] = [];
  for (const { name = '', protocol: text, port, nodePort } of ports) {
    const protocol = protocolOf(text);
    if (protocol === undefined || !isPortNumber(port)) continue;
    const same = good.filter((other) => other.protocol === protocol);
    if (same.some((other) => other.port === port)) continue;
    const usable = isPortNumber(nodePort) && !same.some((other) => other.nodePort === nodePort);
    good.push({ name, protocol, port, nodePort: usable ? nodePort : undefined });
  }
  return good;
}

const isVip = ({ ipMode }: { ipMode?: string | null }): boolean => (ipMode ?? 'VIP') === 'VIP';

function externalAccess(
  { spec = {}, status }: Service,
  family: IpFamily,
  clusterIps: readonly string[],
): Pick<SlowPort, 'externalIps' | 'loadBalancerIps' | 'sourceRanges'> {
  const good = (ip: string | undefined): ip is string =>
    ip !== undefined && isOf(ip, family) && !isSpecial(ip) && !clusterIps.includes(ip);
  const ingress = spec.type === 'LoadBalancer' ? (status?.loadBalancer?.ingress ?? []) : [];
  const loadBalancerIps = [
    ...new Set(
      ingress
        .filter(isVip)
        .map(({ ip }) => ip)
        .filter(good),
    ),
  ];
  const externalIps = [...new Set((spec.externalIPs ?? []).filter(good))];
  return {
    loadBalancerIps,
    // An address that is both is guarded by the ranges.
    externalIps: externalIps.filter((ip) => !loadBalancerIps.includes(ip)),
    sourceRanges: sourceRanges(
      (spec.loadBalancerSourceRanges ?? []).map((range) => range.trim()),
      family,
    ),
  };
}

/** What cannot be read admits nobody, and lets nobody in who would have been kept out. */
function sourceRanges(ranges: readonly string[], family: IpFamily): readonly string[] | undefined {
  const own = ranges.filter((range) => isRange(range, family));
  if (own.length > 0) return own;
  const bad = ranges.filter((range) => !isRange(range, 4) && !isRange(range, 6));
  if (ranges.length > 0 && bad.length === ranges.length) return [];
  return bad.some((range) => (range.includes(':') ? 6 : 4) === family) ? [] : undefined;
}

interface Candidate extends SlowEndpoint {
  readonly ready: boolean;
  readonly servingTerminating: boolean;
  readonly zones: readonly string[];
  readonly nodes: readonly string[];
}

/** Endpoints of all slices for the port; what several slices have is as ready as the readiest of them says. */
function candidates(
  service: Service,
  slices: readonly EndpointSlice[],
  family: IpFamily,
  port: GoodPort,
  node: SlowNode,
): Candidate[] {
  const found = new Map<string, Candidate>();
  for (const slice of slices) {
    const { metadata = {}, addressType } = slice;
    if (metadata.namespace !== service.metadata?.namespace) continue;
    if (metadata.labels?.[SERVICE_NAME] !== service.metadata?.name) continue;
    if (metadata.labels?.[OTHER_PROXY] !== undefined || addressType !== `IPv${family}`) continue;
    for (const target of slice.ports ?? []) {
      if ((target.name ?? '') !== port.name || protocolOf(target.protocol) !== port.protocol) continue;
      if (!isPortNumber(target.port)) continue;
      for (const endpoint of slice.endpoints) {
        const address = endpoint.addresses[0] ?? '';
        if (!isOf(address, family) || isSpecial(address)) continue;
        const one = candidate(endpoint, address, target.port, node);
        const key = `${address} ${target.port}`;
        const other = found.get(key);
        found.set(key, other === undefined ? one : readier(one, other));
      }
    }
  }
  return [...found.values()].filter(({ ready, servingTerminating }) => ready || servingTerminating);
}

function candidate(
  endpoint: EndpointSlice['endpoints'][0],
  address: string,
  port: number,
  node: SlowNode,
): Candidate {
  const { conditions = {}, nodeName } = endpoint;
  // "nil should be interpreted as true" for ready and serving, as false for terminating.
  const ready = conditions.ready ?? true;
  const serving = conditions.serving ?? true;
  const hints: { forZones?: { name: string }[]; forNodes?: { name: string }[] } | undefined = endpoint.hints;
  return {
    address,
    port,
    local: nodeName === node.name,
    ready,
    servingTerminating: !ready && serving && (conditions.terminating ?? false),
    zones: ready ? (hints?.forZones ?? []).map(({ name }) => name) : [],
    nodes: ready ? (hints?.forNodes ?? []).map(({ name }) => name) : [],
  };
}

function readier(one: Candidate, other: Candidate): Candidate {
  const usable = (each: Candidate): boolean => each.ready || each.servingTerminating;
  return {
    ...one,
    local: (usable(one) && one.local) || (usable(other) && other.local),
    ready: one.ready || other.ready,
    servingTerminating: one.servingTerminating || other.servingTerminating,
    zones: [...one.zones, ...other.zones],
    nodes: [...one.nodes, ...other.nodes],
  };
}

function readyOrServing(all: readonly Candidate[]): readonly Candidate[] {
  const ready = all.filter((one) => one.ready);
  return ready.length > 0 ? ready : all.filter((one) => one.servingTerminating);
}

/** Hints count if every ready endpoint has some and one is for here; node before zone. */
function clusterPolicy(all: readonly Candidate[], node: SlowNode): readonly Candidate[] {
  const ready = all.filter((one) => one.ready);
  if (ready.length === 0) return readyOrServing(all);
  const hinted = (hints: (one: Candidate) => readonly string[], here: string): Candidate[] =>
    ready.every((one) => hints(one).length > 0) ? ready.filter((one) => hints(one).includes(here)) : [];
  const forNode = hinted(({ nodes }) => nodes, node.name);
  if (forNode.length > 0) return forNode;
  const forZone = hinted(({ zones }) => zones, node.zone);
  return forZone.length > 0 ? forZone : ready;
}

function protocolOf(text: string | undefined): SlowProtocol | undefined {
  if (text === undefined || text === '') return 'TCP';
  return text === 'TCP' || text === 'UDP' || text === 'SCTP' ? text : undefined;
}

function isPortNumber(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65_536;
}

function isOf(ip: string, family: IpFamily): boolean {
  return family === 4 ? isIPv4(ip) : isIPv6(ip);
}

function isSpecial(ip: string): boolean {
  return /^(127\.|169\.254\.|224\.0\.0\.|0\.0\.0\.0$|::1?$|fe[89ab]|ff.2:)/.test(ip);
}

function isRange(range: string, family: IpFamily): boolean {
  const [ip = '', bits = ''] = range.split('/');
  return range.split('/').length === 2 && isOf(ip, family) && isBits(bits, family === 4 ? 32 : 128);
}

function isBits(text: string, most: number): boolean {
  return /^\d{1,3}$/.test(text) && Number(text) <= most;
}
