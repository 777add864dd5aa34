import type { CustomResourceDefinition } from 'kubernetes-types/apiextensions/v1.js';
import type { DaemonSet, Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.js';
import type { Lease } from 'kubernetes-types/coordination/v1.js';
import type {
  ConfigMap,
  Endpoints,
  Event,
  Namespace,
  Node,
  Pod,
  Secret,
  Service,
  ServiceAccount,
} from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Ingress, IngressClass, NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { ServiceCIDR } from 'kubernetes-types/networking/v1alpha1.js';
import type { ClusterRole, ClusterRoleBinding, Role, RoleBinding } from 'kubernetes-types/rbac/v1.js';
import type { KubeObject } from './kube-object.ts';

/** Where a type of object lives in the API, bound to its TypeScript type. */
export interface ResourceType<T extends KubeObject = KubeObject> {
  /** Empty for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Only there to carry the type; never set. */
  readonly object?: T;
}

/** `v1`, `apps/v1`: what stands in `apiVersion` of the type's objects. */
export function apiVersionOf(type: ResourceType): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

function define<T extends KubeObject>(
  groupVersion: string,
  plural: string,
  kind: string,
  namespaced = true,
): ResourceType<T> {
  const [version = '', group = ''] = groupVersion.split('/').reverse();
  return { group, version, plural, kind, namespaced };
}

export const NODES = define<Node>('v1', 'nodes', 'Node', false);
export const NAMESPACES = define<Namespace>('v1', 'namespaces', 'Namespace', false);
export const PODS = define<Pod>('v1', 'pods', 'Pod');
export const SERVICES = define<Service>('v1', 'services', 'Service');
export const ENDPOINTS = define<Endpoints>('v1', 'endpoints', 'Endpoints');
export const CONFIG_MAPS = define<ConfigMap>('v1', 'configmaps', 'ConfigMap');
export const SECRETS = define<Secret>('v1', 'secrets', 'Secret');
export const SERVICE_ACCOUNTS = define<ServiceAccount>('v1', 'serviceaccounts', 'ServiceAccount');
export const EVENTS = define<Event>('v1', 'events', 'Event');
export const ENDPOINT_SLICES = define<EndpointSlice>(
  'discovery.k8s.io/v1',
  'endpointslices',
  'EndpointSlice',
);
export const LEASES = define<Lease>('coordination.k8s.io/v1', 'leases', 'Lease');
export const DEPLOYMENTS = define<Deployment>('apps/v1', 'deployments', 'Deployment');
export const REPLICA_SETS = define<ReplicaSet>('apps/v1', 'replicasets', 'ReplicaSet');
export const DAEMON_SETS = define<DaemonSet>('apps/v1', 'daemonsets', 'DaemonSet');
export const NETWORK_POLICIES = define<NetworkPolicy>(
  'networking.k8s.io/v1',
  'networkpolicies',
  'NetworkPolicy',
);
export const INGRESSES = define<Ingress>('networking.k8s.io/v1', 'ingresses', 'Ingress');
export const INGRESS_CLASSES = define<IngressClass>(
  'networking.k8s.io/v1',
  'ingressclasses',
  'IngressClass',
  false,
);
export const SERVICE_CIDRS = define<ServiceCIDR>(
  'networking.k8s.io/v1',
  'servicecidrs',
  'ServiceCIDR',
  false,
);
export const ROLES = define<Role>('rbac.authorization.k8s.io/v1', 'roles', 'Role');
export const ROLE_BINDINGS = define<RoleBinding>(
  'rbac.authorization.k8s.io/v1',
  'rolebindings',
  'RoleBinding',
);
export const CLUSTER_ROLES = define<ClusterRole>(
  'rbac.authorization.k8s.io/v1',
  'clusterroles',
  'ClusterRole',
  false,
);
export const CLUSTER_ROLE_BINDINGS = define<ClusterRoleBinding>(
  'rbac.authorization.k8s.io/v1',
  'clusterrolebindings',
  'ClusterRoleBinding',
  false,
);
export const CUSTOM_RESOURCE_DEFINITIONS = define<CustomResourceDefinition>(
  'apiextensions.k8s.io/v1',
  'customresourcedefinitions',
  'CustomResourceDefinition',
  false,
);
