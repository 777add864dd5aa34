import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import type { KubeObject } from '../../cluster/kube-object.ts';
import { DEPLOYMENTS, SERVICE_ACCOUNTS, SERVICES, type ResourceType } from '../../cluster/resource-type.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { retry } from '../../timing/backoff.ts';
import { Cidr } from '../../net/cidr.ts';
import { CLUSTER_DOMAIN } from './control-plane.ts';

const NAMESPACE = 'kube-system';
const NAME = 'cluster-dns';
/** The label and the Service's name are those that every tool looks for. */
const LABELS = { 'k8s-app': 'kube-dns' };

const RBAC = { group: 'rbac.authorization.k8s.io', version: 'v1', namespaced: false } as const;
const CLUSTER_ROLES: ResourceType = { ...RBAC, plural: 'clusterroles', kind: 'ClusterRole' };
const CLUSTER_ROLE_BINDINGS: ResourceType = {
  ...RBAC,
  plural: 'clusterrolebindings',
  kind: 'ClusterRoleBinding',
};
const ROLE_NAME = 'system:flatnet:cluster-dns';

/** The tenth address of a service range is the cluster's name server, by convention. */
export function dnsAddress(serviceCidr: string): string {
  return Cidr.parse(serviceCidr).at(10).toString();
}

/** What every cluster has besides its control plane: name service. What is there already stays as it is. */
export async function applyAddons(
  client: ApiClient,
  serviceCidrs: readonly string[],
  replicas: number,
  signal: AbortSignal,
): Promise<void> {
  const objects: [ResourceType, KubeObject][] = [
    [SERVICE_ACCOUNTS, { metadata: { name: NAME, namespace: NAMESPACE } }],
    [SERVICES, dnsService(serviceCidrs)],
    [CLUSTER_ROLES, dnsRole()],
    [CLUSTER_ROLE_BINDINGS, dnsRoleBinding()],
    [DEPLOYMENTS, dnsDeployment(replicas)],
  ];
  for (const [type, object] of objects) {
    await retry(async () => create(client, type, object), { signal, attempts: 20, maxMs: 1000, shouldRetry });
  }
}

/** A control plane that has just started may refuse for a moment: namespaces, quotas, allocators. */
function shouldRetry(error: unknown): boolean {
  return error instanceof FlatnetError && (error.retryable || hasStatus(error, 403) || hasStatus(error, 404));
}

async function create(client: ApiClient, type: ResourceType, object: KubeObject): Promise<void> {
  try {
    await client.create(type, object);
  } catch (error) {
    if (!hasStatus(error, 409)) throw error;
  }
}

function dnsRole(): KubeObject {
  const verbs = ['get', 'list', 'watch'];
  const rules = [
    { apiGroups: [''], resources: ['services', 'pods', 'namespaces', 'endpoints', 'nodes'], verbs },
    { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs },
  ];
  return { metadata: { name: ROLE_NAME }, rules } as KubeObject;
}

function dnsRoleBinding(): KubeObject {
  return {
    metadata: { name: ROLE_NAME },
    roleRef: { apiGroup: RBAC.group, kind: 'ClusterRole', name: ROLE_NAME },
    subjects: [{ kind: 'ServiceAccount', name: NAME, namespace: NAMESPACE }],
  } as KubeObject;
}

function dnsService(serviceCidrs: readonly string[]): KubeObject {
  const clusterIPs = serviceCidrs.map(dnsAddress);
  const spec = {
    selector: LABELS,
    clusterIP: clusterIPs[0],
    clusterIPs,
    ...(clusterIPs.length > 1 ? { ipFamilyPolicy: 'RequireDualStack' } : {}),
    ports: [
      { name: 'dns', port: 53, protocol: 'UDP', targetPort: 53 },
      { name: 'dns-tcp', port: 53, protocol: 'TCP', targetPort: 53 },
      { name: 'metrics', port: 9153, protocol: 'TCP', targetPort: 9153 },
    ],
  };
  const labels = { ...LABELS, 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' };
  return { metadata: { name: 'kube-dns', namespace: NAMESPACE, labels }, spec } as KubeObject;
}

function dnsDeployment(replicas: number): KubeObject {
  const container = {
    name: 'dns',
    image: 'flatnet/flatnet',
    args: ['dns', '--zone', CLUSTER_DOMAIN],
    ports: [
      { name: 'dns', containerPort: 53, protocol: 'UDP' },
      { name: 'dns-tcp', containerPort: 53, protocol: 'TCP' },
      { name: 'metrics', containerPort: 9153, protocol: 'TCP' },
    ],
    readinessProbe: { httpGet: { path: '/ready', port: 8181 }, periodSeconds: 1 },
    livenessProbe: { httpGet: { path: '/health', port: 8080 }, initialDelaySeconds: 60, failureThreshold: 5 },
    resources: { requests: { cpu: '50m', memory: '64Mi' } },
  };
  const spec = {
    replicas,
    selector: { matchLabels: LABELS },
    template: {
      metadata: { labels: LABELS },
      spec: {
        serviceAccountName: NAME,
        // Its own names come from the node's resolver: asking itself would go round in circles.
        dnsPolicy: 'Default',
        priorityClassName: 'system-cluster-critical',
        tolerations: [{ key: 'CriticalAddonsOnly', operator: 'Exists' }],
        containers: [container],
      },
    },
  };
  return { metadata: { name: NAME, namespace: NAMESPACE, labels: LABELS }, spec } as KubeObject;
}
