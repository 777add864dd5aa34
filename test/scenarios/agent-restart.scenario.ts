import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, echoDeployment, eventually, Lab, service } from './lab-fixture.ts';

const NODES = ['node-1', 'node-2'];
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('restart', ['--nodes', '2']);
});

afterAll(async () => {
  await lab?.down();
});

test('a killed agent loses no packet: a ping between pods and a connection through a Service go on', async () => {
  await lab.apply([
    clientPod('client', 'node-1'),
    clientPod('target', 'node-2'),
    echoDeployment('echo', 2),
    service('echo', {}),
  ]);
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod/client', 'pod/target', '--timeout=30s']);
  await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
  const target = await lab.value('pod/target', '{.status.podIP}');
  const clusterIp = await lab.value('service/echo', '{.spec.clusterIP}');
  const before = await lab.agentPids(NODES);
  expect(before.every((pid) => pid > 1)).toBe(true);

  const ping = lab.kubectl(['exec', 'client', '--', 'ping', '-i', '0.01', '-c', '600', '-q', target]);
  // One connection, kept alive over 300 requests of 20 ms distance.
  const load = 'exec client -- curl -sS --rate 50/s --fail -o /dev/null -w'.split(' ');
  const url = `http://${clusterIp}/hostname?n=[1-300]`;
  const connection = lab.kubectl([...load, '%{local_port} %{http_code}\\n', url]);
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await eventually(async () => {
    const now = await lab.agentPids(NODES);
    return now.every((pid, index) => pid > 1 && pid !== before[index]);
  });

  expect(await ping).toContain('600 packets transmitted, 600 received, 0% packet loss');
  const lines = (await connection).trim().split('\n');
  expect(lines).toHaveLength(300);
  expect(new Set(lines).size).toBe(1);
  expect(lines[0]).toMatch(/^\d+ 200$/);

  await lab.kubectl(['scale', 'deployment/echo', '--replicas=3']);
  await lab.kubectl(['rollout', 'status', 'deployment/echo', '--timeout=60s']);
});
