import { beforeEach, describe, expect, test } from 'vitest';
import { FakeIptables } from '../../../kernel/iptables/fake.ts';
import { TABLES } from '../../../kernel/iptables/objects.ts';
import type { ServicePort } from '../../services/service-port.ts';
import { IptablesBackend } from './backend.ts';
import {
  CAPTURED_SETTINGS,
  capturedPorts,
  capturedTables,
  comparableTables,
} from './fixtures/captured-cluster.ts';
import { FakeNodeState } from './node-state.ts';

let kernel: FakeIptables;
let node: FakeNodeState;

const open = (settings = CAPTURED_SETTINGS): IptablesBackend => new IptablesBackend([kernel], node, settings);

const tables = async (): Promise<ReturnType<typeof comparableTables>> => {
  const texts = new Map<string, string>();
  for (const table of TABLES) texts.set(table, await kernel.save(table));
  return comparableTables((table) => texts.get(table) ?? '');
};

const started = async (
  ports: readonly ServicePort[],
  settings = CAPTURED_SETTINGS,
): Promise<IptablesBackend> => {
  const backend = open(settings);
  await backend.prepare();
  await backend.rebuild(ports);
  return backend;
};

beforeEach(() => {
  kernel = new FakeIptables();
  node = new FakeNodeState();
});

describe('beside kube-proxy 1.36.3', () => {
  test('the same chains and rules, order of independent rules aside', async () => {
    await started(capturedPorts());
    expect(await tables()).toEqual(capturedTables());
    expect(node.routesLocalnet).toBe(true);
    expect([...node.counters].sort()).toEqual([
      'ct_state_invalid_dropped_pkts',
      'localhost_nps_accepted_pkts',
    ]);
  });

  test('the same when Services come one by one', async () => {
    const backend = await started([]);
    for (const port of capturedPorts()) await backend.update([{ id: port.id, port }]);
    expect(await tables()).toEqual(capturedTables());
  });

  test('what kube-proxy left is adopted as it is', async () => {
    const text = TABLES.map((table) => {
      const captured = capturedTables()[table];
      const chains = Object.keys(captured).map((chain) => `:${chain} - [0:0]`);
      const rules = Object.entries(captured).flatMap(([chain, own]) =>
        own.map((rule) => `-A ${chain} ${rule}`),
      );
      const tail = rules.filter((rule) => rule.includes('must be the last rule'));
      return [
        `*${table}`,
        ...chains,
        ...rules.filter((rule) => !tail.includes(rule)),
        ...tail,
        'COMMIT',
      ].join('\n');
    });
    kernel.restore(`${text.join('\n')}\n`);
    const backend = open();
    await backend.prepare();
    const report = await backend.rebuild(capturedPorts());
    expect(report.describe()).toEqual([]);
    expect(report.rules).toMatchObject({
      written: 0,
      tables: [
        { family: 4, table: 'nat', written: 0, total: 149 },
        { family: 4, table: 'filter', written: 0, total: 20 },
      ],
    });
  });
});
