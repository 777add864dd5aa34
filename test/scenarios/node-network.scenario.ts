import { afterAll, beforeAll, expect, test } from 'vitest';
import { clientPod, eventually, Lab } from './lab-fixture.ts';

let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up('node', ['--nodes', '2']);
  await lab.apply([clientPod('one', 'node-1'), clientPod('two', 'node-2')]);
  await lab.kubectl(['wait', '--for=condition=Ready', 'pod', '--all', '--timeout=60s']);
});

afterAll(async () => {
  await lab?.down();
});

interface Status {
  readonly publicIps: readonly string[];
  readonly reason: string;
  readonly podMtu: number;
  readonly problems: readonly string[];
  readonly peers: readonly { readonly node: string; readonly publicIps: readonly string[] }[];
}

async function status(node: string): Promise<Status> {
  return JSON.parse(await lab.get(node, 'http://127.0.0.1:10256/status')) as Status;
}

/** From the pod on node-1 to the one on node-2, or back. */
const ping = async (options: readonly string[], from = 'one'): Promise<string> => {
  const target = await lab.value(from === 'one' ? 'pod/two' : 'pod/one', '{.status.podIP}');
  return lab.kubectl(['exec', from, '--', 'ping', '-i', '0.05', '-q', ...options, target]);
};

const linkOf = async (pod: string): Promise<string> =>
  lab.kubectl(['exec', pod, '--', 'ip', 'link', 'show', 'eth0']);

const onNode = async (node: string, script: string): Promise<string> => lab.exec(node, ['sh', '-c', script]);

test('the smallest underlay of all nodes is what pods everywhere get, running ones too', async () => {
  expect((await status('node-1')).podMtu).toBe(1450);
  await onNode('node-2', 'ip link set eth0 mtu 1400');
  expect(await eventually(async () => (await linkOf('one')).includes('mtu 1350 '))).toBe(true);
  expect(await eventually(async () => (await linkOf('two')).includes('mtu 1350 '))).toBe(true);
  // The largest that fits goes through whole, without leave to fragment.
  expect(await ping(['-c', '5', '-M', 'do', '-s', String(1350 - 28)])).toContain(' 0% packet loss');
  expect(await onNode('node-1', 'cat /run/flannel/subnet.env')).toContain('FLANNEL_MTU=1350');
  expect(
    await onNode(
      'node-1',
      'flatnet() { /opt/flatnet/node /opt/flatnet/package/dist/flatnet.js "$@"; }; flatnet podnet docker-opts -c',
    ),
  ).toContain('--ip-masq=false --mtu=1350');
  await onNode('node-2', 'ip link set eth0 mtu 1500');
  expect(await eventually(async () => (await linkOf('one')).includes('mtu 1450 '))).toBe(true);
});

test('a public address that an administrator spoils is told, and does not hold up the node', async () => {
  const annotation = 'flannel.alpha.coreos.com/public-ip-overwrite';
  const before = await status('node-1');
  await lab.kubectl(['annotate', 'node', 'node-1', `${annotation}=127.0.0.1`]);
  expect(await eventually(async () => (await status('node-1')).problems.length > 0)).toBe(true);
  const { problems, publicIps } = await status('node-1');
  expect(problems.join()).toContain(`annotation ${annotation} is "127.0.0.1", which is no address of a node`);
  expect(publicIps).toEqual(before.publicIps);
  expect(await onNode('node-1', 'curl -sS http://127.0.0.1:10256/healthz')).toBe('ok');
  await lab.kubectl(['annotate', 'node', 'node-1', `${annotation}-`]);
  expect(await eventually(async () => (await status('node-1')).problems.length === 0)).toBe(true);
});

const published = async (): Promise<string> =>
  lab.value('node/node-1', String.raw`{.metadata.annotations.flatnet\.dev/node}`);

test('without the API server traffic goes on and what was lost meanwhile is published when it is back', async () => {
  const server = new URL(await onNode('node-1', "sed -n 's/.*server: //p' /etc/flatnet/kubeconfig")).hostname;
  expect(await published()).toContain('"device":"eth0"');
  await onNode('node-1', `ip route add blackhole ${server}/32`);
  try {
    await lab.kubectl(['annotate', 'node', 'node-1', 'flatnet.dev/node-']);
    // The kubelet of node-1 cannot answer the API server now.
    expect(await ping(['-c', '100'], 'two')).toContain(' 0% packet loss');
    expect(await published()).toBe('');
  } finally {
    await onNode('node-1', `ip route del blackhole ${server}/32`);
  }
  expect(await eventually(published, 60_000)).toContain('"device":"eth0"');
}, 120_000);

const seenFromNode1 = async (): Promise<string> => (await status('node-1')).peers[0]?.publicIps.join() ?? '';

test('an address that changes is followed by the node and by its peers', async () => {
  await onNode(
    'node-2',
    'sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1; ip address add 172.30.0.99/24 dev eth0; ' +
      'ip address del $(ip -4 -o address show dev eth0 primary | awk "{print \\$4}") dev eth0',
  );
  expect(await eventually(async () => (await status('node-2')).publicIps.join() === '172.30.0.99')).toBe(
    true,
  );
  expect(await eventually(async () => (await seenFromNode1()) === '172.30.0.99')).toBe(true);
  expect(await ping(['-c', '10'])).toContain(' 0% packet loss');
});

test('a second agent is refused', async () => {
  const start =
    '/opt/flatnet/node /opt/flatnet/package/dist/flatnet.js agent --kubeconfig /etc/flatnet/kubeconfig --config /etc/flatnet/agent.yaml --node-name node-1';
  await expect(lab.exec('node-1', ['sh', '-c', start])).rejects.toThrow(
    /another agent \(process \d+\) works on this node/,
  );
});
