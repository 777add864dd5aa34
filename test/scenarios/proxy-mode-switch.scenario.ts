import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, Lab, service } from './lab-fixture.ts';
import { switchProxyMode } from './node-config.ts';
import { expectUnharmed, servingDeployment, startLoad } from './service-load.ts';

// ipvs is in proxy-ipvs.scenario.ts: this machine's kernel may not have it.
const WAY = ['iptables', 'userspace', 'nftables', 'userspace', 'iptables', 'nftables'] as const;
const RATE = 200;
const PHASE_SECONDS = 4;
const HELD = 8;

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('switch', ['--nodes', '2']);
  await lab.apply([clientPod('client', 'node-1'), servingDeployment('echo', 4), service('echo', {})]);
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod/client', '--timeout=30s']);
  await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
});

afterAll(async () => {
  await lab?.down();
});

test('a node changes its mode under load: connections live on, new ones are answered', async () => {
  const address = await lab.value('service/echo', '{.spec.clusterIP}');
  const target = { address, port: 80 };
  // Some room for the switches themselves; the last phase is the longest.
  const seconds = WAY.length * PHASE_SECONDS + 12;
  const began = Date.now();
  const left = (): number => Math.ceil(seconds - (Date.now() - began) / 1000);
  const loads = [
    await startLoad(lab, 'client', { ...target, connectionsPerSecond: RATE, seconds, held: HELD }),
  ];
  await sleep(1000);
  for (const mode of WAY) {
    await switchProxyMode(lab, 'node-1', mode);
    // Connections that begin in this mode, and live through all that follow.
    const held = { ...target, connectionsPerSecond: 1, seconds: left(), held: HELD };
    loads.push(await startLoad(lab, 'client', held));
    await sleep(PHASE_SECONDS * 1000);
  }
  expect(left()).toBeGreaterThan(0);
  const results = await Promise.all(loads.map(async ({ result }) => result));
  console.log(JSON.stringify(results[0]));
  for (const load of results) expectUnharmed(load);
});
