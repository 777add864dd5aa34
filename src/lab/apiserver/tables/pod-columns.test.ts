import { expect, test } from 'vitest';
import type { KubeObject } from '../json/kube-object.ts';
import { POD_COLUMNS } from './pod-columns.ts';

const NOW = Date.parse('2026-01-01T00:10:00Z');

function pod(status: object, spec: object = {}, metadata: object = {}): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', creationTimestamp: '2026-01-01T00:00:00Z', ...metadata },
    spec: { containers: [{ name: 'a' }, { name: 'b' }], nodeName: 'n1', ...spec },
    status,
  } as unknown as KubeObject;
}

const running = { name: 'a', ready: true, restartCount: 0, state: { running: {} } };

test.each([
  ['nothing yet', pod({ phase: 'Pending' }), ['p', '0/2', 'Pending', '0', '10m']],
  [
    'image error',
    pod({
      phase: 'Pending',
      containerStatuses: [{ name: 'a', state: { waiting: { reason: 'ErrImagePull' } } }],
    }),
    ['p', '0/2', 'ErrImagePull', '0', '10m'],
  ],
  [
    'restarted',
    pod({
      phase: 'Running',
      containerStatuses: [
        running,
        { ...running, restartCount: 2, lastState: { terminated: { finishedAt: '2026-01-01T00:09:00Z' } } },
      ],
    }),
    ['p', '2/2', 'Running', '2 (60s ago)', '10m'],
  ],
  [
    'init container',
    pod(
      { phase: 'Pending', initContainerStatuses: [{ name: 'i', state: { running: {} } }] },
      { initContainers: [{ name: 'i' }] },
    ),
    ['p', '0/2', 'Init:0/1', '0', '10m'],
  ],
  [
    'failed without reason',
    pod({ phase: 'Failed', containerStatuses: [{ name: 'a', state: { terminated: { exitCode: 3 } } }] }),
    ['p', '0/2', 'ExitCode:3', '0', '10m'],
  ],
  [
    'going',
    pod(
      { phase: 'Running', containerStatuses: [running] },
      {},
      { deletionTimestamp: '2026-01-01T00:10:30Z' },
    ),
    ['p', '1/2', 'Terminating', '0', '10m'],
  ],
])('%s', (_, object, expected) => {
  expect(POD_COLUMNS.cells(object, NOW).slice(0, 5)).toEqual(expected);
});

test('the wide columns name address and node', () => {
  const cells = POD_COLUMNS.cells(pod({ phase: 'Running', podIPs: [{ ip: '10.1.2.3' }] }), NOW);
  expect(cells.slice(5)).toEqual(['10.1.2.3', 'n1', '<none>', '<none>']);
});
