import { isIPv4 } from 'node:net';
import type { Service, ServicePort as ApiPort } from 'kubernetes-types/core/v1.js';
import { Ip, type IpFamily } from '../../net/ip.ts';
import { isExternallyAccessible, readExternalAccess, type ExternalAccess } from './external-access.ts';
import { isPort, ProblemList, type Problem } from './problem.ts';
import { wellFormed, type Shape } from './shape.ts';
import { localKind } from './special-address.ts';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

/** What a Service has in one address family. Addresses are in canonical form. */
export interface ServiceAddress extends ExternalAccess {
  readonly family: IpFamily;
  /** ClusterIP. */
  readonly address: string;
}

export interface ServicePortSpec {
  /** Empty for the only port of a Service. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** 0: none. */
  readonly nodePort: number;
}

/** What the proxy keeps of a Service. Without addresses: nothing to balance (headless, ExternalName). */
export interface ServiceSpec {
  /** `namespace/name`. */
  readonly key: string;
  readonly addresses: readonly ServiceAddress[];
  readonly ports: readonly ServicePortSpec[];
  /** For how many seconds a client stays with its endpoint; 0: not at all. */
  readonly affinitySeconds: number;
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  /** 0: none. */
  readonly healthCheckNodePort: number;
  readonly problems: readonly Problem[];
}

const NOTHING = {
  addresses: [],
  ports: [],
  affinitySeconds: 0,
  internalLocal: false,
  externalLocal: false,
  healthCheckNodePort: 0,
} as const;

/** Set on Services and slices that another proxy serves. */
export const PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';

/** Defaults and bounds of the API: pkg/apis/core/validation. */
const DEFAULT_AFFINITY_SECONDS = 10_800;
const MAX_AFFINITY_SECONDS = 86_400;

/** Of what is read of a Service. */
const SHAPE: Shape = {
  metadata: { labels: { [PROXY_NAME_LABEL]: 'text' } },
  spec: {
    type: 'text',
    clusterIP: 'text',
    clusterIPs: ['text'],
    externalIPs: ['text'],
    loadBalancerSourceRanges: ['text'],
    ports: [{ name: 'text', protocol: 'text', port: 'number', nodePort: 'number' }],
    sessionAffinity: 'text',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 'number' } },
    internalTrafficPolicy: 'text',
    externalTrafficPolicy: 'text',
    healthCheckNodePort: 'number',
  },
  status: { loadBalancer: { ingress: [{ ip: 'text', ipMode: 'text' }] } },
};

export function projectService(object: Service): ServiceSpec {
  const key = keyOf(object);
  const problems = new ProblemList(`Service ${key}`);
  return project(key, wellFormed(object, SHAPE, problems), problems);
}

/** Of what has no fields of another kind than their types say, as protobuf cannot have. */
export function projectReadService(service: Service): ServiceSpec {
  const key = keyOf(service);
  return project(key, service, new ProblemList(`Service ${key}`));
}

function keyOf({ metadata }: Service): string {
  return `${metadata?.namespace ?? ''}/${metadata?.name ?? ''}`;
}

function project(key: string, service: Service, problems: ProblemList): ServiceSpec {
  const spec = service.spec ?? {};
  const foreign = service.metadata?.labels?.[PROXY_NAME_LABEL] !== undefined;
  const clusterIps = spec.clusterIPs?.length ? spec.clusterIPs : [spec.clusterIP ?? ''];
  const headless = spec.clusterIP === 'None' || clusterIps[0] === 'None' || clusterIps[0] === '';
  const balanced = !foreign && spec.type !== 'ExternalName' && !headless;
  if (!balanced) return { key, ...NOTHING, problems: problems.list() };
  const clusterAddresses = readAddresses(clusterIps, problems);
  const external = readExternalAccess(service, clusterAddresses, problems);
  const externalLocal =
    readPolicy(spec.externalTrafficPolicy, 'spec.externalTrafficPolicy', problems) &&
    isExternallyAccessible(service);
  return {
    key,
    addresses: clusterAddresses.map(({ family, address }) => ({ family, address, ...external[family] })),
    ports: readPorts(spec.ports ?? [], problems),
    affinitySeconds: readAffinity(service, problems),
    internalLocal: readPolicy(spec.internalTrafficPolicy, 'spec.internalTrafficPolicy', problems),
    externalLocal,
    healthCheckNodePort: readHealthCheckPort(service, externalLocal, problems),
    problems: problems.list(),
  };
}

/** True for Local. */
function readPolicy(text: string | undefined, field: string, problems: ProblemList): boolean {
  if (text === 'Local') return true;
  if (text !== undefined && text !== '' && text !== 'Cluster') {
    problems.add(field, `"${text}" is not one of Cluster, Local; using Cluster`);
  }
  return false;
}

function readHealthCheckPort(service: Service, externalLocal: boolean, problems: ProblemList): number {
  if (!externalLocal || service.spec?.type !== 'LoadBalancer') return 0;
  const port = service.spec.healthCheckNodePort ?? 0;
  if (isPort(port)) return port;
  problems.add('spec.healthCheckNodePort', `${String(port)} is not a port number from 1 to 65535`);
  return 0;
}

interface ClusterAddress {
  readonly family: IpFamily;
  readonly address: string;
}

function readAddresses(texts: readonly string[], problems: ProblemList): ClusterAddress[] {
  const addresses: ClusterAddress[] = [];
  for (const [index, text] of texts.entries()) {
    const field = `spec.clusterIPs[${index}]`;
    const ip = readAddress(text);
    // Link-local ones pass: nothing keeps a cluster from having its service range there.
    const local = ip === undefined ? undefined : localKind(ip.address);
    if (ip === undefined) problems.add(field, `"${text}" is not an IP address`);
    else if (local !== undefined) problems.add(field, `"${text}" is ${local}`);
    else if (addresses.some((other) => other.family === ip.family)) {
      problems.add(
        field,
        `"${text}" is a second IPv${ip.family} address; a Service has at most one of each family`,
      );
    } else addresses.push(ip);
  }
  return addresses;
}

function readAddress(text: string): ClusterAddress | undefined {
  // IPv4 text that is valid is canonical.
  if (isIPv4(text)) return { family: 4, address: text };
  const ip = Ip.tryParse(text);
  return ip && { family: ip.family, address: ip.toString() };
}

function readPorts(ports: readonly ApiPort[], problems: ProblemList): ServicePortSpec[] {
  const found: ServicePortSpec[] = [];
  for (const [index, port] of ports.entries()) {
    const field = `spec.ports[${index}]`;
    const protocol = readProtocol(port.protocol);
    const nodePort = port.nodePort ?? 0;
    if (protocol === undefined) {
      problems.add(`${field}.protocol`, `"${port.protocol}" is not one of TCP, UDP, SCTP`);
    } else if (!isPort(port.port)) {
      problems.add(`${field}.port`, `${String(port.port)} is not a port number from 1 to 65535`);
    } else if (found.some((other) => other.protocol === protocol && other.port === port.port)) {
      problems.add(`${field}.port`, `${protocol} port ${port.port} stands twice in the Service`);
    } else {
      const name = port.name ?? '';
      const free = isFreeNodePort(nodePort, protocol, found, `${field}.nodePort`, problems);
      found.push({ name, protocol, port: port.port, nodePort: free ? nodePort : 0 });
    }
  }
  return found;
}

function isFreeNodePort(
  nodePort: number,
  protocol: Protocol,
  others: readonly ServicePortSpec[],
  field: string,
  problems: ProblemList,
): boolean {
  if (nodePort === 0) return true;
  if (!isPort(nodePort)) {
    problems.add(field, `${String(nodePort)} is not a port number from 1 to 65535`);
  } else if (others.some((other) => other.protocol === protocol && other.nodePort === nodePort)) {
    problems.add(field, `${protocol} node port ${nodePort} stands twice in the Service`);
  } else return true;
  return false;
}

export function readProtocol(text: string | undefined): Protocol | undefined {
  if (text === undefined || text === '') return 'TCP';
  return text === 'TCP' || text === 'UDP' || text === 'SCTP' ? text : undefined;
}

function readAffinity(service: Service, problems: ProblemList): number {
  const kind = service.spec?.sessionAffinity;
  if (kind !== 'ClientIP') {
    if (kind && kind !== 'None')
      problems.add('spec.sessionAffinity', `"${kind}" is not one of None, ClientIP`);
    return 0;
  }
  const seconds = service.spec?.sessionAffinityConfig?.clientIP?.timeoutSeconds ?? DEFAULT_AFFINITY_SECONDS;
  if (Number.isInteger(seconds) && seconds > 0 && seconds <= MAX_AFFINITY_SECONDS) return seconds;
  problems.add(
    'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
    `${seconds} is not a number of seconds from 1 to ${MAX_AFFINITY_SECONDS}; using ${DEFAULT_AFFINITY_SECONDS}`,
  );
  return DEFAULT_AFFINITY_SECONDS;
}
