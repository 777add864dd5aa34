import { spawn } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { withNetns } from '../../src/kernel/netns/netns.ts';
import { removeBuild, SmallCluster } from '../conformance/podnet/small-cluster.ts';
import type { SmallNode } from '../conformance/podnet/small-node.ts';
import { Containerd } from './containerd.ts';
import type { PodWish } from './cri-client.ts';
import { webPod } from './web-pod.ts';

// What kubelet asks of containerd, and containerd of Flatnet's plugin: nothing here stands for either of them.

let cluster: SmallCluster;
let node: SmallNode;
let runtime: Containerd;

const network = async () => (await runtime.cri.conditions()).find(({ type }) => type === 'NetworkReady');

/** GET from any namespace. */
const get = async (from: string, url: string): Promise<string> =>
  (await cluster.inside(from, 'curl', '-s', '--max-time', '5', url)).trim();

const fromNode = async (url: string): Promise<string> =>
  (await node.run('curl', ['-s', '--max-time', '5', url])).stdout.trim();

const hostPorts = async (): Promise<string> => (await node.run('nft', ['list', 'ruleset'])).stdout;

/** Addresses that are reserved for pods. */
const reserved = (): string[] =>
  readdirSync(join(node.folder, 'networks', 'cbr0')).filter((name) => /^[0-9a-f.:]+$/.test(name));

const megabits = (bytes: number, since: number): number => (bytes * 8) / 1000 / (performance.now() - since);

const devices = (kind: string): string[] =>
  node.kernel
    .links()
    .filter((link) => link.kind === kind && link.name !== 'eth0')
    .map(({ name }) => name);

beforeAll(async () => {
  cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 2, dualStack: true });
  node = cluster.node(1);
  runtime = await Containerd.start({
    netns: node.netns.fd,
    binDir: join(node.folder, 'bin'),
    confDir: join(node.folder, 'net.d'),
  });
});

afterAll(async () => {
  await runtime?.stop();
  await cluster?.stop();
  removeBuild();
});

describe('containerd', () => {
  test('calls the node ready when the agent is, and not before', async () => {
    expect(await network()).toMatchObject({ status: false });
    for (const each of cluster.nodes) each.startAgent();
    for (const each of cluster.nodes) await each.ready();
    await vi.waitFor(async () => expect(await network()).toMatchObject({ status: true }), {
      timeout: 10_000,
    });
  });

  test('runs pods that reach each other, on their node and across nodes, in both families', async () => {
    const server = await webPod(runtime.cri, { name: 'server' });
    const client = await webPod(runtime.cri, { name: 'client' });
    const [v4 = '', v6 = ''] = server.addresses;
    expect(v4).toMatch(/^10\.244\.1\./);
    expect(v6).toMatch(/^fd00:10:244:1::/);
    const ask = async (url: string): Promise<string> =>
      (await runtime.cri.exec(client.container, 'wget', '-q', '-O', '-', url)).trim();
    expect(await ask(`http://${v4}/`)).toBe('server');
    expect(await ask(`http://[${v6}]/`)).toBe('server');
    const remote = cluster.podName('remote');
    await cluster.node(2).addPod(remote);
    expect(await get(remote, `http://${v4}/`)).toBe('server');
    expect(await get(remote, `http://[${v6}]/`)).toBe('server');
    expect(await fromNode(`http://${v4}/`)).toBe('server');
  });

  test('the addresses that it tells kubelet are those in the pod', async () => {
    const pod = await webPod(runtime.cri, { name: 'told' });
    const shown = await runtime.cri.exec(pod.container, 'ip', 'address', 'show', 'dev', 'eth0');
    for (const address of pod.addresses) expect(shown).toContain(` ${address}/`);
  });
});

describe('what kubelet passes on from the pod', () => {
  const wish: PodWish = {
    name: 'asking',
    portMappings: [
      { protocol: 'TCP', container_port: 80, host_port: 8080 },
      { protocol: 'TCP', container_port: 80, host_port: 8081, host_ip: '127.0.0.1' },
      { protocol: 'UDP', container_port: 53, host_port: 5353 },
      // Said of the container alone.
      { protocol: 'TCP', container_port: 9090, host_port: 0 },
    ],
    annotations: {
      'kubernetes.io/ingress-bandwidth': '20M',
      'kubernetes.io/egress-bandwidth': '50M',
    },
  };
  let pod: Awaited<ReturnType<typeof webPod>>;

  beforeAll(async () => {
    pod = await webPod(runtime.cri, wish);
  });

  test('hostPort leads to the pod: from outside, from the node, from pods', async () => {
    const outside = cluster.podName('fabric');
    expect(await get(outside, `http://${node.ip}:8080/`)).toBe('asking');
    expect(await get(outside, `http://[${node.place.v6}]:8080/`)).toBe('asking');
    for (const host of ['127.0.0.1', node.ip, `[${node.place.v6}]`]) {
      expect(await fromNode(`http://${host}:8080/`)).toBe('asking');
    }
    const itself = await runtime.cri.exec(pod.container, 'wget', '-q', '-O', '-', `http://${node.ip}:8080/`);
    expect(itself.trim()).toBe('asking');
  });

  test('hostIP leads to the pod at that address alone', async () => {
    expect(await fromNode('http://127.0.0.1:8081/')).toBe('asking');
    await expect(get(cluster.podName('fabric'), `http://${node.ip}:8081/`)).rejects.toThrow('curl');
  });

  test('bandwidth holds in both directions', async () => {
    const { stdout } = await node.run('tc', ['qdisc', 'show']);
    expect(stdout).toMatch(/tbf 1: dev veth\w+ root .*rate 20Mbit/);
    expect(stdout).toMatch(/tbf 1: dev ifb\w+ root .*rate 50Mbit/);
    const [address = ''] = pod.addresses;
    writeFileSync(join(node.folder, 'file'), Buffer.alloc(5_000_000));
    const server = withNetns(node.netns.fd, () =>
      spawn('busybox', ['httpd', '-f', '-p', '9000', '-h', node.folder], { stdio: 'ignore' }),
    );
    await vi.waitFor(async () => fromNode('http://10.244.1.1:9000/'), { timeout: 5000, interval: 20 });
    const started = performance.now();
    await runtime.cri.exec(pod.container, 'wget', '-q', '-O', '/dev/null', 'http://10.244.1.1:9000/file');
    const toPod = megabits(5_000_000, started);
    server.kill();
    expect(toPod).toBeGreaterThan(10);
    expect(toPod).toBeLessThan(23);

    await runtime.cri.exec(pod.container, 'dd', 'if=/dev/zero', 'of=/tmp/file', 'bs=1000000', 'count=10');
    const begun = performance.now();
    await node.run('curl', ['-s', '-o', '/dev/null', `http://${address}/file`]);
    expect(megabits(10_000_000, begun)).toBeGreaterThan(25);
    expect(megabits(10_000_000, begun)).toBeLessThan(57);
  });

  test('a second pod with that hostPort is refused, and told whose it is', async () => {
    const before = reserved();
    await expect(runtime.cri.runPod({ ...wish, name: 'greedy' })).rejects.toThrow(
      /8080\/tcp of pod default\/greedy .* is taken by pod default\/asking/,
    );
    expect(reserved()).toEqual(before);
  });

  test('it goes on while the agent is dead, and afterwards', async () => {
    await node.stopAgent('SIGKILL');
    expect(await get(cluster.podName('fabric'), `http://${node.ip}:8080/`)).toBe('asking');
    node.startAgent();
    await node.ready();
    expect(await get(cluster.podName('fabric'), `http://${node.ip}:8080/`)).toBe('asking');
    expect(await node.run('nft', ['flush', 'ruleset'])).toMatchObject({ stderr: '' });
    await vi.waitFor(
      async () => expect(await get(cluster.podName('fabric'), `http://${node.ip}:8080/`)).toBe('asking'),
      { timeout: 5000, interval: 50 },
    );
  });

  test('StopPodSandbox gives back addresses, ports, limits and devices', async () => {
    const [v4 = '', v6 = ''] = pod.addresses;
    expect(reserved()).toEqual(expect.arrayContaining([v4, v6]));
    await runtime.cri.stopPod(pod.id);
    expect(reserved()).not.toContain(v4);
    expect(reserved()).not.toContain(v6);
    expect(await hostPorts()).not.toContain(`${v4} . 80`);
    expect(devices('ifb')).toEqual([]);
    // As kubelet does it: more than once.
    await runtime.cri.stopPod(pod.id);
    await runtime.cri.removePod(pod.id);
    const again = await webPod(runtime.cri, wish);
    expect(await get(cluster.podName('fabric'), `http://${node.ip}:8080/`)).toBe('asking');
    await runtime.cri.stopPod(again.id);
  });
});

describe('without the agent', () => {
  test('RunPodSandbox fails with what is the matter, and succeeds when the agent is back', async () => {
    await node.stopAgent('SIGTERM');
    const before = devices('veth');
    const started = performance.now();
    await expect(runtime.cri.runPod({ name: 'patient' })).rejects.toThrow(
      /flatnet.*the agent does not answer on its socket.*the runtime then tries again/s,
    );
    // The plugin has a second (its own tests see to that); containerd makes and removes a sandbox around it.
    expect(performance.now() - started).toBeLessThan(5000);
    expect(devices('veth')).toEqual(before);
    node.startAgent();
    await node.ready();
    const pod = await webPod(runtime.cri, { name: 'patient', attempt: 1 });
    expect(await fromNode(`http://${pod.addresses[0]}/`)).toBe('patient');
  });

  test('StopPodSandbox that fails is repeated by kubelet and leaves nothing behind', async () => {
    const pod = await webPod(runtime.cri, {
      name: 'late',
      portMappings: [{ protocol: 'TCP', container_port: 80, host_port: 8090 }],
    });
    const [v4 = ''] = pod.addresses;
    await node.stopAgent('SIGKILL');
    await expect(runtime.cri.stopPod(pod.id)).rejects.toThrow(/flatnet/);
    node.startAgent();
    await node.ready();
    await runtime.cri.stopPod(pod.id);
    expect(reserved()).not.toContain(v4);
    expect(await hostPorts()).not.toContain(`${v4} . 80`);
  });
});
