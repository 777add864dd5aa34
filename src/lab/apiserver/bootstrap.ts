import { Ip } from '../../net/ip.ts';
import type { JsonObject } from './json/json.ts';
import type { KubeObject } from './json/kube-object.ts';
import type { ObjectWriter } from './rest/object-writer.ts';
import type { ResourceRegistry } from './rest/resource-registry.ts';
import { storageKey } from './store/stored-object.ts';

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

/** One object that every cluster has. */
interface Fixture {
  readonly group: string;
  readonly resource: string;
  readonly namespace: string;
  readonly make: () => KubeObject;
}

/** Makes what kube-apiserver makes when it starts, and makes it again when somebody deletes it. */
export function bootstrap(registry: ResourceRegistry, writer: ObjectWriter, facts: BootstrapFacts): void {
  const namespaces = NAMESPACES.map((name): Fixture => ({
    group: '',
    resource: 'namespaces',
    namespace: '',
    make: () => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } }),
  }));
  for (const fixture of [...namespaces, ...wayToTheServer(facts)]) keep(registry, writer, fixture);
}

function keep(registry: ResourceRegistry, writer: ObjectWriter, fixture: Fixture): void {
  const { group, resource, namespace, make } = fixture;
  const definition = registry.find(group, 'v1', resource);
  if (definition === undefined) return;
  const key = storageKey(namespace, make().metadata.name ?? '');
  const create = (): void => {
    if (definition.store.get(key) !== undefined) return;
    writer.create({ definition, namespace, user: USER, dryRun: false }, make());
  };
  create();
  definition.store.subscribe((event) => {
    // Later, so that every watcher has seen the deletion before it sees the new object.
    if (event.type !== 'DELETED' || event.object.key !== key) return;
    setImmediate(() => {
      try {
        create();
      } catch {
        // Somebody was quicker and has the name or the address; the next deletion tries again.
      }
    });
  });
}

/** The Service `kubernetes` and where it leads, and the certificate of the authority that signs for it. */
function wayToTheServer(facts: BootstrapFacts): Fixture[] {
  const { host, port } = facts.endpoint;
  const fixtures: Fixture[] = [
    {
      group: '',
      resource: 'services',
      namespace: 'default',
      make: () => kubernetesService(facts.serviceIps, port),
    },
    {
      group: '',
      resource: 'configmaps',
      namespace: 'kube-public',
      make: () => rootCertificate(facts.authority),
    },
  ];
  // Nothing but this very machine could reach a loopback address: endpoints are never of that kind.
  if (host.startsWith('127.') || host === '::1') return fixtures;
  return [
    ...fixtures,
    { group: '', resource: 'endpoints', namespace: 'default', make: () => kubernetesEndpoints(host, port) },
    {
      group: 'discovery.k8s.io',
      resource: 'endpointslices',
      namespace: 'default',
      make: () => kubernetesSlice(host, port),
    },
  ];
}

function kubernetesEndpoints(host: string, port: number): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Endpoints',
    metadata: { name: 'kubernetes', labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets: [{ addresses: [{ ip: host }], ports: [{ name: 'https', port, protocol: 'TCP' }] }],
  };
}

function kubernetesSlice(host: string, port: number): KubeObject {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } },
    addressType: Ip.parse(host).family === 4 ? 'IPv4' : 'IPv6',
    endpoints: [{ addresses: [host], conditions: { ready: true } }],
    ports: [{ name: 'https', port, protocol: 'TCP' }],
  };
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
