import { numberAt, objectAt, objectsAt, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { age } from './age.ts';
import { AGE, column, NAME, orNone, table, wide } from './column-builder.ts';
import * as network from './network-columns.ts';
import { NODE_COLUMNS } from './node-columns.ts';
import { POD_COLUMNS } from './pod-columns.ts';
import type { TableColumns } from './table-columns.ts';
import { DAEMON_SET_COLUMNS, DEPLOYMENT_COLUMNS, REPLICA_SET_COLUMNS } from './workload-columns.ts';

/** Name and age, which every kind has. */
const NAME_AND_AGE: TableColumns = table(NAME, AGE);

function dataCount(object: KubeObject): number {
  return (
    Object.keys(objectAt(object, 'data') ?? {}).length +
    Object.keys(objectAt(object, 'binaryData') ?? {}).length
  );
}

function lastSeen(event: KubeObject, now: number): string {
  const series = stringAt(event, 'series', 'lastObservedTime');
  return age(
    series ??
      stringAt(event, 'lastTimestamp') ??
      stringAt(event, 'eventTime') ??
      event.metadata.creationTimestamp,
    now,
  );
}

function firstSeen(event: KubeObject, now: number): string {
  return age(
    stringAt(event, 'firstTimestamp') ?? stringAt(event, 'eventTime') ?? event.metadata.creationTimestamp,
    now,
  );
}

function eventObject(event: KubeObject): string {
  return `${(stringAt(event, 'involvedObject', 'kind') ?? '').toLowerCase()}/${stringAt(event, 'involvedObject', 'name') ?? ''}`;
}

function eventSource(event: KubeObject): string {
  const component = stringAt(event, 'source', 'component') ?? stringAt(event, 'reportingComponent') ?? '';
  const host = stringAt(event, 'source', 'host') ?? stringAt(event, 'reportingInstance') ?? '';
  return host === '' ? component : `${component}, ${host}`;
}

function roleOf(binding: KubeObject): string {
  return `${stringAt(binding, 'roleRef', 'kind') ?? ''}/${stringAt(binding, 'roleRef', 'name') ?? ''}`;
}

function subjects(kind: string): (binding: KubeObject) => string {
  return (binding) =>
    objectsAt(binding, 'subjects')
      .filter((one) => one['kind'] === kind)
      .map(
        (one) =>
          (kind === 'ServiceAccount' ? `${stringAt(one, 'namespace') ?? ''}/` : '') +
          (stringAt(one, 'name') ?? ''),
      )
      .join(', ');
}

const CREATED_AT = column('Created At', (object) => object.metadata.creationTimestamp ?? '', 'date');
const BINDING = table(
  NAME,
  column('Role', roleOf),
  AGE,
  wide('Users', subjects('User')),
  wide('Groups', subjects('Group')),
  wide('ServiceAccounts', subjects('ServiceAccount')),
);

const COLUMNS: Readonly<Record<string, TableColumns>> = {
  Namespace: table(
    NAME,
    column('Status', (object) => stringAt(object, 'status', 'phase') ?? ''),
    AGE,
  ),
  Node: NODE_COLUMNS,
  Pod: POD_COLUMNS,
  Service: network.SERVICE_COLUMNS,
  Endpoints: network.ENDPOINTS_COLUMNS,
  EndpointSlice: network.ENDPOINT_SLICE_COLUMNS,
  Ingress: network.INGRESS_COLUMNS,
  IngressClass: network.INGRESS_CLASS_COLUMNS,
  NetworkPolicy: network.NETWORK_POLICY_COLUMNS,
  Deployment: DEPLOYMENT_COLUMNS,
  ReplicaSet: REPLICA_SET_COLUMNS,
  DaemonSet: DAEMON_SET_COLUMNS,
  ConfigMap: table(NAME, column('Data', dataCount), AGE),
  Secret: table(
    NAME,
    column('Type', (object) => stringAt(object, 'type') ?? ''),
    column('Data', dataCount),
    AGE,
  ),
  ServiceAccount: table(
    NAME,
    column('Secrets', (object) => objectsAt(object, 'secrets').length),
    AGE,
  ),
  Event: table(
    column('Last Seen', lastSeen),
    column('Type', (event) => stringAt(event, 'type') ?? ''),
    column('Reason', (event) => stringAt(event, 'reason') ?? ''),
    column('Object', eventObject),
    wide('Subobject', (event) => stringAt(event, 'involvedObject', 'fieldPath') ?? ''),
    wide('Source', eventSource),
    column('Message', (event) => (stringAt(event, 'message') ?? '').trim()),
    wide('First Seen', firstSeen),
    wide('Count', (event) => numberAt(event, 'series', 'count') ?? numberAt(event, 'count') ?? 1),
    wide('Name', (event) => event.metadata.name ?? ''),
  ),
  Lease: table(
    NAME,
    column('Holder', (lease) => orNone(stringAt(lease, 'spec', 'holderIdentity')).replace('<none>', '')),
    AGE,
  ),
  Role: table(NAME, CREATED_AT),
  ClusterRole: table(NAME, CREATED_AT),
  RoleBinding: BINDING,
  ClusterRoleBinding: BINDING,
  CustomResourceDefinition: table(NAME, CREATED_AT),
};

/** kubectl's columns of a built-in kind. */
export function columnsOf(kind: string): TableColumns {
  return COLUMNS[kind] ?? NAME_AND_AGE;
}
