import { numberAt, objectAt, objectsAt, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { selectorText } from '../json/selector-text.ts';
import { AGE, column, NAME, orNone, table, wide } from './column-builder.ts';
import type { TableColumns } from './table-columns.ts';

const count =
  (...path: readonly string[]) =>
  (object: KubeObject): number =>
    numberAt(object, ...path) ?? 0;

function containers(member: 'name' | 'image'): (object: KubeObject) => string {
  return (object) =>
    orNone(
      objectsAt(object, 'spec', 'template', 'spec', 'containers').map((one) => stringAt(one, member) ?? ''),
    );
}

const WIDE = [
  wide('Containers', containers('name')),
  wide('Images', containers('image')),
  wide('Selector', (object) => orNone(selectorText(objectAt(object, 'spec', 'selector') ?? {}))),
] as const;

export const DEPLOYMENT_COLUMNS: TableColumns = table(
  NAME,
  column(
    'Ready',
    (object) => `${count('status', 'readyReplicas')(object)}/${count('spec', 'replicas')(object)}`,
  ),
  column('Up-to-date', count('status', 'updatedReplicas'), 'integer'),
  column('Available', count('status', 'availableReplicas'), 'integer'),
  AGE,
  ...WIDE,
);

export const REPLICA_SET_COLUMNS: TableColumns = table(
  NAME,
  column('Desired', count('spec', 'replicas'), 'integer'),
  column('Current', count('status', 'replicas'), 'integer'),
  column('Ready', count('status', 'readyReplicas'), 'integer'),
  AGE,
  ...WIDE,
);

function nodeSelector(object: KubeObject): string {
  const selector = objectAt(object, 'spec', 'template', 'spec', 'nodeSelector') ?? {};
  return orNone(
    Object.entries(selector).map(([key, value]) => `${key}=${typeof value === 'string' ? value : ''}`),
  );
}

export const DAEMON_SET_COLUMNS: TableColumns = table(
  NAME,
  column('Desired', count('status', 'desiredNumberScheduled'), 'integer'),
  column('Current', count('status', 'currentNumberScheduled'), 'integer'),
  column('Ready', count('status', 'numberReady'), 'integer'),
  column('Up-to-date', count('status', 'updatedNumberScheduled'), 'integer'),
  column('Available', count('status', 'numberAvailable'), 'integer'),
  column('Node Selector', nodeSelector),
  AGE,
  ...WIDE,
);
