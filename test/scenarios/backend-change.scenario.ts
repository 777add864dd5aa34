import { afterAll, beforeAll, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { clientPod, eventually, Lab } from './lab-fixture.ts';

const NODES = ['node-1', 'node-2', 'node-3'];
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('roll', ['--nodes', '3']);
  await lab.apply(NODES.map((node) => clientPod(podOn(node), node)));
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s']);
});

afterAll(async () => {
  await lab?.down();
});

const podOn = (node: string): string => `pod-of-${node}`;

interface Status {
  readonly backends: readonly string[];
  readonly stage: string;
  readonly podMtu: number;
  readonly problems: readonly string[];
  readonly peers: readonly { readonly node: string; readonly by?: string }[];
}

async function status(node: string): Promise<Status> {
  return JSON.parse(await lab.get(node, 'http://127.0.0.1:10256/status')) as Status;
}

async function configure(node: string, backend: object): Promise<void> {
  const config = stringify({
    apiVersion: 'flatnet.dev/v1alpha1',
    kind: 'AgentConfiguration',
    network: { Network: '10.244.0.0/16', Backend: backend },
    iface: 'eth0',
    serviceCIDRs: ['10.96.0.0/16'],
  });
  // As an editor or a ConfigMap does it: in one step.
  const script =
    'cat > /etc/flatnet/.new <<END\n' + config + 'END\nmv /etc/flatnet/.new /etc/flatnet/agent.yaml';
  await lab.exec(node, ['sh', '-c', script]);
}

const sh = async (node: string, script: string): Promise<string> =>
  lab.kubectl(['exec', podOn(node), '--', 'sh', '-c', script]);

/** Pings between all pods, a hundred a second, and one connection whose every request is told. */
async function startTraffic(ips: ReadonlyMap<string, string>): Promise<void> {
  for (const from of NODES) {
    for (const to of NODES.filter((node) => node !== from))
      await sh(from, `ping -i 0.01 -q ${ips.get(to)} > /tmp/ping-${to} 2>&1 & echo $! >> /tmp/pids`);
  }
  await sh('node-1', 'iperf3 -s -p 5001 -1 > /tmp/server 2>&1 & echo $! >> /tmp/pids');
  await eventually(async () => (await sh('node-1', 'ss -Hltn sport = 5001')).includes('5001'));
  await sh(
    'node-3',
    `iperf3 --forceflush -c ${ips.get('node-1')} -p 5001 -b 2M -t 600 > /tmp/client 2>&1 & echo $! > /tmp/stream`,
  );
}

/** What each ping says of packets, in a line each. */
async function stopTraffic(): Promise<string[]> {
  const told: string[] = [];
  for (const from of NODES) {
    await sh(from, 'kill -INT $(cat /tmp/pids)');
    for (const to of NODES.filter((node) => node !== from)) {
      const summary = await eventually(
        async () => /\d+ packets.*loss/.exec(await sh(from, `cat /tmp/ping-${to}`))?.[0],
      );
      told.push(`${from} to ${to}: ${summary}`);
    }
  }
  return told;
}

async function settled(backend: string): Promise<void> {
  const done = eventually(async () => {
    const all = await Promise.all(NODES.map(status));
    return all.every(
      ({ backends, stage, peers }) =>
        stage === 'settled' && backends.join() === backend && peers.every(({ by }) => by === backend),
    );
  }, 60_000);
  expect(await done, `every node by ${backend} alone`).toBe(true);
}

async function roll(backend: object): Promise<void> {
  for (const node of NODES) await configure(node, backend);
}

test('a cluster changes its backend four times, pods ping each other all the while and lose nothing', async () => {
  const before = await Promise.all(NODES.map((node) => lab.value(`pod/${podOn(node)}`, '{.status.podIP}')));
  await settled('vxlan 1');
  await startTraffic(new Map(NODES.map((node, index) => [node, before[index] ?? ''])));
  const changes: [object, string, number][] = [
    [{ Type: 'host-gw' }, 'host-gw', 1500],
    [{ Type: 'vxlan', VNI: 7 }, 'vxlan 7', 1450],
    [{ Type: 'udp' }, 'udp 8285', 1472],
    [{ Type: 'vxlan' }, 'vxlan 1', 1450],
  ];
  for (const [backend, name, mtu] of changes) {
    await roll(backend);
    await settled(name);
    expect((await status('node-1')).podMtu).toBe(mtu);
    const link = await lab.kubectl(['exec', podOn('node-2'), '--', 'ip', 'link', 'show', 'eth0']);
    expect(link).toContain(`mtu ${mtu} `);
  }
  // The connection is the one of the beginning, and it has moved in every second.
  const stream = await sh('node-3', 'kill -0 $(cat /tmp/stream) && cat /tmp/client');
  expect(stream).not.toMatch(/ 0.00 bits\/sec|error/);
  for (const line of await stopTraffic()) expect(line).toMatch(/ 0% packet loss/);
  const devices = await lab.exec('node-1', ['ip', '-o', 'link', 'show']);
  expect(devices).toContain('flannel.1:');
  expect(devices).not.toMatch(/flannel\.7|flannel0/);
  const after = await Promise.all(NODES.map((node) => lab.value(`pod/${podOn(node)}`, '{.status.podIP}')));
  expect(after).toEqual(before);
}, 300_000);

test('what cannot exist side by side is refused, told, and changes nothing', async () => {
  await configure('node-1', { Type: 'vxlan', Port: 4789 });
  expect(await eventually(async () => (await status('node-1')).problems.length > 0)).toBe(true);
  expect((await status('node-1')).problems.join()).toContain('they cannot exist side by side');
  const events = await eventually(async () =>
    lab.kubectl([
      'get',
      'events',
      '-A',
      '--field-selector',
      'reason=PodNetworkDegraded',
      '-o',
      'jsonpath={.items[*].message}',
    ]),
  );
  expect(events).toContain('they cannot exist side by side');
  expect((await status('node-1')).peers.map(({ by }) => by)).toEqual(['vxlan 1', 'vxlan 1']);
  await configure('node-1', { Type: 'vxlan' });
  expect(await eventually(async () => (await status('node-1')).problems.length === 0)).toBe(true);
});
