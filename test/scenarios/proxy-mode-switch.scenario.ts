import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, Lab, service } from './lab-fixture.ts';
import { switchProxyMode } from './node-config.ts';
import { expectUnharmed, loadFromPod, servingDeployment } from './service-load.ts';

// ipvs is in proxy-ipvs.scenario.ts: this machine's kernel may not have it.
const WAY = ['iptables', 'userspace', 'nftables', 'userspace', 'iptables', 'nftables'] as const;
const RATE = 200;
const PHASE_MS = 3000;
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
  const target = { address, port: 80, held: HELD };
  const loads = [await loadFromPod(lab, 'client', { ...target, connectionsPerSecond: RATE })];
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
