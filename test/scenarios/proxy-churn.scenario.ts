import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, eventually, Lab, service } from './lab-fixture.ts';
import { switchProxyMode } from './node-config.ts';
import { expectUnharmed, loadFromPod, servingDeployment } from './service-load.ts';

// userspace mode is not here: its connections are relayed by the process, and end with it.
const MODES = ['nftables', 'iptables'] as const;

const NODES = ['node-1', 'node-2'];
const RATE = 1000;
const SECONDS = 25;
const DELETE_EVERY_MS = 1500;

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('churn', ['--nodes', String(NODES.length)]);
  await lab.apply([clientPod('client', 'node-1'), servingDeployment('churn', 4), service('churn', {})]);
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod/client', '--timeout=30s']);
  await lab.kubectl(['rollout', 'status', 'deployment/churn', '--timeout=60s']);
});

afterAll(async () => {
  await lab?.down();
});

/** Pods that nobody is deleting, oldest first. */
async function livePods(): Promise<string[]> {
  const order = '--sort-by=.metadata.creationTimestamp';
  const text = await lab.kubectl(['get', 'pods', '-l', 'app=churn', order, '-o', 'json']);
  const list = JSON.parse(text) as { items: { metadata: { name: string; deletionTimestamp?: string } }[] };
  return list.items
    .filter((pod) => pod.metadata.deletionTimestamp === undefined)
    .map((pod) => pod.metadata.name);
}

/** Deletes pods one after the other, oldest first, and scales up and down; returns how many went. */
async function churn(signal: AbortSignal): Promise<number> {
  let deleted = 0;
  for (let turn = 1; !signal.aborted; turn += 1) {
    const [oldest] = await livePods();
    if (oldest !== undefined) {
      await lab.kubectl(['delete', 'pod', oldest, '--wait=false']);
      deleted += 1;
    }
    if (turn % 4 === 0) {
      await lab.kubectl(['scale', 'deployment/churn', `--replicas=${turn % 8 === 0 ? 4 : 6}`]);
    }
    await sleep(DELETE_EVERY_MS, undefined, { signal }).catch(() => {});
  }
  return deleted;
}

async function killAgents(): Promise<void> {
  const before = await Promise.all(NODES.map(async (node) => lab.agentPid(node)));
  expect(before.every((pid) => pid > 1)).toBe(true);
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await eventually(async () => {
    const now = await Promise.all(NODES.map(async (node) => lab.agentPid(node)));
    return now.every((pid, index) => pid > 1 && pid !== before[index]);
  });
}

test.each(MODES)('%s: endpoints come and go, the agents are killed twice, no request fails', async (mode) => {
  for (const node of NODES) await switchProxyMode(lab, node, mode);
  await lab.kubectl(['rollout', 'status', 'deployment/churn', '--timeout=60s']);
  const address = await lab.value('service/churn', '{.spec.clusterIP}');

  const calls = await loadFromPod(lab, 'client', { address, port: 80, connectionsPerSecond: RATE });
  const over = new AbortController();
  const churning = churn(over.signal);
  for (const kill of [true, true, false]) {
    await sleep((SECONDS * 1000) / 3);
    if (kill) await killAgents();
  }
  const load = await calls.end();
  over.abort();
  console.log(`${mode}: ${JSON.stringify(load)}`);

  expectUnharmed(load);
  expect(load.requests).toBeGreaterThan(RATE * SECONDS * 0.95);
  expect(load.perSecond).toBeGreaterThan(RATE * 0.9);
  expect(await churning).toBeGreaterThan(8);
});
