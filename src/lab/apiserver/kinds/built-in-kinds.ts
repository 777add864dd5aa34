import { storedStrategies } from './strategies.ts';
import type { ResourceDefinition, ScalePaths, Strategy } from './resource-definition.ts';
import { convertLegacyIngress } from './legacy-ingress.ts';
import { convertNewEvent } from './event-conversion.ts';
import { builtInSchema } from '../schema/built-in-schemas.ts';
import { ObjectStore } from '../store/object-store.ts';
import type { RevisionCounter } from '../store/revision-counter.ts';
import { columnsOf } from '../tables/built-in-columns.ts';

/** What discovery says about a built-in kind; `c` marks kinds outside namespaces, `s` those with a status. */
interface KindRow {
  readonly kind: string;
  readonly resource: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly cluster?: true;
  readonly status?: true;
  readonly scale?: true;
}

const ALL = ['all'];

const CORE: readonly KindRow[] = [
  { kind: 'Namespace', resource: 'namespaces', shortNames: ['ns'], cluster: true, status: true },
  { kind: 'Node', resource: 'nodes', shortNames: ['no'], cluster: true, status: true },
  { kind: 'Pod', resource: 'pods', shortNames: ['po'], categories: ALL, status: true },
  { kind: 'Service', resource: 'services', shortNames: ['svc'], categories: ALL, status: true },
  { kind: 'Endpoints', resource: 'endpoints', shortNames: ['ep'] },
  { kind: 'ConfigMap', resource: 'configmaps', shortNames: ['cm'] },
  { kind: 'Secret', resource: 'secrets' },
  { kind: 'ServiceAccount', resource: 'serviceaccounts', shortNames: ['sa'] },
  { kind: 'Event', resource: 'events', shortNames: ['ev'] },
];

const APPS: readonly KindRow[] = [
  {
    kind: 'Deployment',
    resource: 'deployments',
    shortNames: ['deploy'],
    categories: ALL,
    status: true,
    scale: true,
  },
  {
    kind: 'ReplicaSet',
    resource: 'replicasets',
    shortNames: ['rs'],
    categories: ALL,
    status: true,
    scale: true,
  },
  { kind: 'DaemonSet', resource: 'daemonsets', shortNames: ['ds'], categories: ALL, status: true },
];

const NETWORKING: readonly KindRow[] = [
  { kind: 'Ingress', resource: 'ingresses', shortNames: ['ing'], status: true },
  { kind: 'IngressClass', resource: 'ingressclasses', cluster: true },
  { kind: 'NetworkPolicy', resource: 'networkpolicies', shortNames: ['netpol'] },
];

const RBAC: readonly KindRow[] = [
  { kind: 'ClusterRole', resource: 'clusterroles', cluster: true },
  { kind: 'ClusterRoleBinding', resource: 'clusterrolebindings', cluster: true },
  { kind: 'Role', resource: 'roles' },
  { kind: 'RoleBinding', resource: 'rolebindings' },
];

const GROUPS: readonly (readonly [group: string, version: string, rows: readonly KindRow[]])[] = [
  ['', 'v1', CORE],
  ['apps', 'v1', APPS],
  ['networking.k8s.io', 'v1', NETWORKING],
  ['discovery.k8s.io', 'v1', [{ kind: 'EndpointSlice', resource: 'endpointslices' }]],
  ['coordination.k8s.io', 'v1', [{ kind: 'Lease', resource: 'leases' }]],
  ['rbac.authorization.k8s.io', 'v1', RBAC],
  [
    'apiextensions.k8s.io',
    'v1',
    [
      {
        kind: 'CustomResourceDefinition',
        resource: 'customresourcedefinitions',
        shortNames: ['crd', 'crds'],
        categories: ['api-extensions'],
        cluster: true,
        status: true,
      },
    ],
  ],
];

const WORKLOAD_SCALE: ScalePaths = {
  specReplicas: ['spec', 'replicas'],
  statusReplicas: ['status', 'replicas'],
  selector: ['spec', 'selector'],
};

/** Every built-in kind with an empty store, and the second versions of Event and Ingress on the same stores. */
export function makeBuiltInKinds(revisions: RevisionCounter): ResourceDefinition[] {
  const definitions = GROUPS.flatMap(([group, version, rows]) =>
    rows.map((row) => definitionOf(group, version, row, revisions)),
  );
  const find = (kind: string): ResourceDefinition => {
    const found = definitions.find((one) => one.kind === kind);
    if (found === undefined) throw new Error(`no built-in kind ${kind}`);
    return found;
  };
  return [
    ...definitions,
    {
      ...find('Event'),
      group: 'events.k8s.io',
      conversion: convertNewEvent,
      schema: schemaOf('events.k8s.io', 'v1', 'Event'),
    },
    {
      ...find('Ingress'),
      group: 'extensions',
      version: 'v1beta1',
      // Else kubectl would warn that `ing` may mean two kinds.
      shortNames: [],
      conversion: convertLegacyIngress,
      schema: () => undefined,
    },
  ];
}

function schemaOf(group: string, version: string, kind: string): ResourceDefinition['schema'] {
  return () => builtInSchema(group, version, kind);
}

function definitionOf(
  group: string,
  version: string,
  row: KindRow,
  revisions: RevisionCounter,
): ResourceDefinition {
  const strategy: Strategy = storedStrategies[row.kind] ?? {};
  return {
    group,
    version,
    kind: row.kind,
    resource: row.resource,
    singular: row.kind.toLowerCase(),
    shortNames: row.shortNames ?? [],
    categories: row.categories ?? [],
    namespaced: row.cluster !== true,
    hasStatus: row.status === true,
    ...(row.scale === true ? { scale: WORKLOAD_SCALE } : {}),
    store: new ObjectStore(revisions, (object) => strategy.fieldsOf?.(object) ?? {}),
    strategy,
    storageApiVersion: group === '' ? version : `${group}/${version}`,
    schema: schemaOf(group, version, row.kind),
    columns: columnsOf(row.kind),
  };
}
