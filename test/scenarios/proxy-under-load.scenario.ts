import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, eventually, Lab, service } from './lab-fixture.ts';
import { switchProxyMode } from './node-config.ts';
import { expectUnharmed, loadFromPod, servingDeployment } from './service-load.ts';

const NODES = ['node-1', 'node-2'];

// userspace mode is not here: its connections are relayed by the process, and end with it.
const MODES = ['iptables', 'nftables'] as const;
const RATE = 1000;
const SECONDS = 18;
const DELETE_EVERY_MS = 1500;

// ipvs is in proxy-ipvs.scenario.ts: this machine's kernel may not have it.
const WAY = ['iptables', 'userspace', 'nftables', 'userspace', 'iptables', 'nftables'] as const;
const SWITCH_RATE = 200;
const PHASE_MS = 2000;
const HELD = 8;

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('load', ['--nodes', String(NODES.length)]);
  const deployments = ['churn', 'echo'].flatMap((name) => [servingDeployment(name, 4), service(name, {})]);
  await lab.apply([clientPod('client', 'node-1'), ...deployments]);
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod/client', '--timeout=30s']);
  for (const name of ['churn', 'echo'])
    await lab.kubectl(['rollout', 'status', `deployment/${name}`, '--timeout=60s']);
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
  const before = await lab.agentPids(NODES);
  expect(before.every((pid) => pid > 1)).toBe(true);
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await eventually(async () => {
    const now = await lab.agentPids(NODES);
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

test('a node changes its mode under load: connections live on, new ones are answered', async () => {
  const address = await lab.value('service/echo', '{.spec.clusterIP}');
  const target = { address, port: 80, held: HELD };
  const loads = [await loadFromPod(lab, 'client', { ...target, connectionsPerSecond: SWITCH_RATE })];
  await sleep(1000);
  for (const mode of WAY) {
    await switchProxyMode(lab, 'node-1', mode);
    // Connections that begin in this mode, and live through all that follow.
    loads.push(await loadFromPod(lab, 'client', { ...target, connectionsPerSecond: 1 }));
    await sleep(PHASE_MS);
  }
  const results = await Promise.all(loads.map(async (load) => load.end()));
  console.log(JSON.stringify(results[0]));
  for (const load of results) expectUnharmed(load);
  expect(results.map(({ held }) => held.length)).toEqual(results.map(() => HELD));
});
