import { Ip } from '../../net/ip.ts';
import type { Json, JsonObject } from './json/json.ts';
import type { KubeObject } from './json/kube-object.ts';
import type { ObjectWriter } from './rest/object-writer.ts';
import type { ResourceRegistry } from './rest/resource-registry.ts';

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];
const USER = { username: 'system:apiserver', groups: ['system:masters'] };

export interface BootstrapFacts {
  /** Addresses of the Service `kubernetes`, one of each family of service ranges. */
  readonly serviceIps: readonly string[];
  /** Where this server answers. */
  readonly endpoint: { readonly host: string; readonly port: number };
  /** PEM, for the ConfigMap kube-root-ca.crt. */
  readonly authority: string;
}

/** Makes what kube-apiserver makes when it starts: the first namespaces and the way to itself. */
export function bootstrap(registry: ResourceRegistry, writer: ObjectWriter, facts: BootstrapFacts): void {
  const create = (group: string, resource: string, namespace: string, object: KubeObject): void => {
    const definition = registry.find(group, 'v1', resource);
    if (definition !== undefined) writer.create({ definition, namespace, user: USER, dryRun: false }, object);
  };
  for (const name of NAMESPACES)
    create('', 'namespaces', '', { apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
  create('', 'services', 'default', kubernetesService(facts.serviceIps, facts.endpoint.port));
  create('', 'configmaps', 'kube-public', rootCertificate(facts.authority));
  const { host, port } = facts.endpoint;
  // Nothing but this very machine could reach a loopback address: endpoints are never of that kind.
  if (host.startsWith('127.') || host === '::1') return;
  const ports: Json[] = [{ name: 'https', port, protocol: 'TCP' }];
  create('', 'endpoints', 'default', {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'kubernetes', labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: host }], ports }],
  });
  create('discovery.k8s.io', 'endpointslices', 'default', {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: Ip.parse(host).family === 4 ? 'IPv4' : 'IPv6',
    endpoints: [{ addresses: [host], conditions: { ready: true } }],
    ports,
  });
}

function kubernetesService(ips: readonly string[], port: number): KubeObject {
  const spec: JsonObject = {
    type: 'ClusterIP',
    clusterIP: ips[0],
    clusterIPs: ips.slice(0, 1),
    ipFamilyPolicy: 'SingleStack',
    ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: port }],
  };
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec,
  };
}

function rootCertificate(authority: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'kube-root-ca.crt' },
    data: { 'ca.crt': authority },
  };
}
