import { objectAt, objectsAt, stringAt } from '../json/json.ts';
import { type KubeObject, metaStrings } from '../json/kube-object.ts';
import { AGE, column, NAME, orNone, table, wide } from './column-builder.ts';
import type { TableColumns } from './table-columns.ts';

const ROLE_PREFIX = 'node-role.kubernetes.io/';

function statusCell(node: KubeObject): string {
  const ready = objectsAt(node, 'status', 'conditions').find((one) => one['type'] === 'Ready');
  const words = [ready === undefined ? 'Unknown' : ready['status'] === 'True' ? 'Ready' : 'NotReady'];
  if (objectAt(node, 'spec')?.['unschedulable'] === true) words.push('SchedulingDisabled');
  return words.join(',');
}

function rolesCell(node: KubeObject): string {
  const roles: string[] = [];
  for (const [key, value] of Object.entries(metaStrings(node, 'labels'))) {
    if (key.startsWith(ROLE_PREFIX)) roles.push(key.slice(ROLE_PREFIX.length));
    else if (key === 'kubernetes.io/role' && value !== '') roles.push(value);
  }
  return orNone([...new Set(roles)].filter((role) => role !== '').sort());
}

function addressCell(type: string): (node: KubeObject) => string {
  return (node) =>
    orNone(
      stringAt(
        objectsAt(node, 'status', 'addresses').find((one) => one['type'] === type),
        'address',
      ),
    );
}

function infoCell(member: string): (node: KubeObject) => string {
  return (node) => {
    const value = stringAt(node, 'status', 'nodeInfo', member) ?? '';
    return value === '' ? '<unknown>' : value;
  };
}

export const NODE_COLUMNS: TableColumns = table(
  NAME,
  column('Status', statusCell),
  column('Roles', rolesCell),
  AGE,
  column('Version', (node) => stringAt(node, 'status', 'nodeInfo', 'kubeletVersion') ?? ''),
  wide('Internal-IP', addressCell('InternalIP')),
  wide('External-IP', addressCell('ExternalIP')),
  wide('OS-Image', infoCell('osImage')),
  wide('Kernel-Version', infoCell('kernelVersion')),
  wide('Container-Runtime', infoCell('containerRuntimeVersion')),
);
