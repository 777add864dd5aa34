import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from '../../../src/kernel/exec/run.ts';
import { Ip } from '../../../src/net/ip.ts';
import { AddressPool } from '../../../src/podnet/ipam/address-pool.ts';
import type { Container } from './cni-driver.ts';
import { CniNode } from './cni-node.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

let cni: CniNode;

vi.setConfig({ testTimeout: 90_000, hookTimeout: 150_000 });

beforeAll(async () => {
  const cluster = await SmallCluster.start({ backend: { Type: 'host-gw' }, nodes: 2 });
  cni = new CniNode(cluster, cluster.node(1));
  cni.node.startAgent();
  await cni.ready();
});

afterAll(async () => {
  await cni.cluster.stop();
  removeBuild();
});

const gc = async (config: object) => cni.node.plugin('GC', 'none', { cniVersion: '1.1.0', ...config });
const socketPath = () => join(cni.cluster.folder, 'other.sock');
const attached = ({ id }: Container) => ({ containerID: id, ifname: 'eth0' });

describe('GC', () => {
  test('removes what is not valid, whether the runtime knows of it or not, and nothing else', async () => {
    const list = cni.list();
    const [kept, known, forgotten] = [cni.container(), cni.container(), cni.container()];
    const second = { ...kept, ifName: 'net1' };
    for (const each of [kept, known, forgotten, second]) await cni.add(list, each);
    cni.driver.forget(list, forgotten);
    await cni.driver.gc(list, [attached(kept)]);
    expect(cni.veth(kept)).toBeDefined();
    await cni.ping(kept, '10.244.1.1');
    for (const each of [known, forgotten, second]) expect(cni.veth(each)).toBeUndefined();
    expect(cni.records()).toEqual([`${kept.id}:eth0`]);
    expect(cni.reservations()).toHaveLength(1);
    await cni.driver.del(list, kept);
  });

  test("frees what another plugin has left in host-local's folder", async () => {
    const kept = cni.container();
    await cni.add(cni.list(), kept);
    const pool = AddressPool.open(join(cni.node.folder, 'networks', 'cbr0'));
    expect(pool.size).toBe(1);
    await cni.node.run('sh', ['-c', `printf 'gone\\r\\neth0' > ${pool.path}/10.244.1.99`]);
    await cni.node.stopAgent('SIGKILL');
    cni.node.startAgent();
    await cni.ready();
    expect(cni.reservations()).toContain('10.244.1.99');
    await cni.driver.gc(cni.list(), [attached(kept)]);
    expect(cni.reservations()).not.toContain('10.244.1.99');
    await cni.driver.del(cni.list(), kept);
  });

  test('of another network leaves this one alone', async () => {
    const container = cni.container();
    await cni.add(cni.list(), container);
    expect(await gc({ name: 'other', 'cni.dev/valid-attachments': [] })).toMatchObject({ exitCode: 0 });
    expect(cni.veth(container)).toBeDefined();
    await cni.driver.del(cni.list(), container);
  });

  test('takes the older name of the list alone', async () => {
    const [kept, gone] = [cni.container(), cni.container()];
    for (const each of [kept, gone]) await cni.add(cni.list(), each);
    expect(await gc({ 'cni.dev/attachments': [attached(kept)] })).toMatchObject({ exitCode: 0 });
    expect(cni.veth(kept)).toBeDefined();
    expect(cni.veth(gone)).toBeUndefined();
    for (const each of [kept, gone]) await cni.driver.del(cni.list(), each);
  });

  test.each([
    ['no list', {}, 7, /cni\.dev\/valid-attachments: missing/],
    ['a list of something else', { 'cni.dev/valid-attachments': ['x'] }, 7, /cni\.dev\/valid-attachments/],
    [
      'a path for an id',
      { 'cni.dev/valid-attachments': [{ containerID: '../x', ifname: 'eth0' }] },
      7,
      /container id/,
    ],
    ['an older version', { cniVersion: '1.0.0', 'cni.dev/valid-attachments': [] }, 1, /does not allow GC/],
  ])('%s is refused, and nothing is removed', async (_, config, code, words) => {
    const container = cni.container();
    await cni.add(cni.list(), container);
    const { json } = await gc(config);
    expect(json).toMatchObject({ code });
    expect(json?.['msg']).toMatch(words);
    expect(cni.veth(container)).toBeDefined();
    await cni.driver.del(cni.list(), container);
  });
});

describe('ADD and DEL', () => {
  test('a second ADD is refused, also when the agent was killed in between', async () => {
    const container = cni.container();
    await cni.add(cni.list(), container);
    await cni.node.stopAgent('SIGKILL');
    cni.node.startAgent();
    await cni.ready();
    await expect(cni.driver.add(cni.list(), container)).rejects.toMatchObject({ code: 100 });
    await cni.ping(container, '10.244.1.1');
    await cni.driver.del(cni.list(), container);
  });

  test('one container may have two interfaces; DEL of one leaves the other', async () => {
    const container = cni.container();
    const second = { ...container, ifName: 'net1' };
    await cni.add(cni.list(), container);
    const routes = [{ dst: '192.0.2.0/24' }];
    await cni.add(cni.list({ ipam: { type: 'host-local', routes } }), second);
    expect(cni.veth(second)).toBeDefined();
    await cni.driver.del(cni.list(), second);
    expect(cni.veth(second)).toBeUndefined();
    await cni.ping(container, '10.244.1.1');
    await cni.driver.del(cni.list(), container);
  });

  test.each([
    ['CNI_ARGS that are none', { CNI_ARGS: 'nonsense' }, {}, 4, /CNI_ARGS: "nonsense" is not KEY=VALUE/],
    ['CNI_ARGS that nobody knows', { CNI_ARGS: 'COLOUR=red' }, {}, 4, /CNI_ARGS: unknown COLOUR/],
    ['an id that is too long', { CNI_CONTAINERID: 'a'.repeat(300) }, {}, 4, /CNI_CONTAINERID/],
    ['a network name that is a path', {}, { name: '../../etc' }, 7, /name: is not the name of a network/],
    [
      'a folder that climbs',
      {},
      { ipam: { type: 'host-local', dataDir: '/var/../etc' } },
      7,
      /ipam\.dataDir: must not have/,
    ],
    ['an unknown ipam', {}, { ipam: { type: 'dhcp' } }, 7, /ipam\.type: "dhcp" is not supported/],
    [
      'a port of the future',
      {},
      { runtimeConfig: { portMappings: [{ hostPort: 70000, containerPort: 1 }] } },
      7,
      /runtimeConfig\.portMappings\.0\.hostPort/,
    ],
    ['a MAC of a group', {}, { runtimeConfig: { mac: '01:00:5e:00:00:01' } }, 7, /runtimeConfig\.mac/],
    [
      'an alias that is two lines',
      {},
      { runtimeConfig: { aliases: ['a\nb'] } },
      7,
      /runtimeConfig\.aliases\.0/,
    ],
    ['a mode of another sort', {}, { mode: 'macvlan' }, 7, /mode: must be bridge or ptp/],
  ])('%s is refused with code and field, and nothing stays', async (_, environment, config, code, words) => {
    const container = cni.container();
    const before = [cni.reservations(), cni.records(), cni.veths()];
    const { json } = await cni.node.plugin('ADD', container.id, config, environment);
    expect(json).toMatchObject({ code });
    expect(json?.['msg']).toMatch(words);
    expect([cni.reservations(), cni.records(), cni.veths()]).toEqual(before);
  });
});

describe('STATUS', () => {
  test('is silent when the node is ready, and unknown before 1.1.0', async () => {
    await cni.driver.status(cni.list());
    expect(await cni.node.plugin('STATUS', 'none', { cniVersion: '1.0.0' })).toMatchObject({
      json: { code: 1 },
    });
  });

  test('says 50 and why on a node that has no range yet, and ADD says 11', async () => {
    const [node] = cni.cluster.addNodes(1);
    if (node === undefined) throw new Error('no node');
    const other = new CniNode(cni.cluster, node);
    node.startAgent();
    // Its own plugin is installed when it is ready; another node's talks to it as well.
    const socket = { FLATNET_CNI_SOCKET: join(node.folder, 'cni.sock') };
    const status = async () => cni.node.plugin('STATUS', 'none', { cniVersion: '1.1.0' }, socket);
    const answer = await vi.waitFor(async () => {
      const { json } = await status();
      expect(json?.['msg']).toMatch(/not ready: node node-3/);
      return json;
    }, 30_000);
    expect(answer).toMatchObject({ code: 50 });
    const early = other.container().id;
    expect(await cni.node.plugin('ADD', early, {}, socket)).toMatchObject({ json: { code: 11 } });
    await cni.cluster.register(node);
    await other.ready();
    expect(await status()).toEqual({ exitCode: 0, json: undefined });
    await node.stopAgent('SIGKILL');
  });
});

async function timed(command: string): Promise<{ code: unknown; ms: number }> {
  const started = performance.now();
  const { json } = await cni.node.plugin(
    command,
    'c1',
    { cniVersion: '1.1.0' },
    { FLATNET_CNI_SOCKET: socketPath() },
  );
  return { code: json?.['code'], ms: performance.now() - started };
}

/** Python that computes for longer than the plugin waits for an idle agent, then replies with an empty object. */
const BUSY_THEN_ANSWERS = `
end = time.monotonic() + 1.5
while time.monotonic() < end: pass
c.recv(65536); c.sendall(b'FCN1' + struct.pack('>II', 0, 2) + b'{}')`;

describe('an agent that is not there', () => {
  let agent: ChildProcess | undefined;

  afterEach(() => {
    agent?.kill('SIGKILL');
    agent = undefined;
    rmSync(socketPath(), { force: true });
  });

  const verbs = [
    ['ADD', 11],
    ['DEL', 11],
    ['CHECK', 11],
    ['GC', 11],
    ['STATUS', 50],
  ] as const;

  test.each(verbs)('no socket: %s says %i at once', async (command, code) => {
    const { ms, ...answer } = await timed(command);
    expect(answer).toEqual({ code });
    expect(ms).toBeLessThan(1000);
  });

  test.each(verbs)('nobody behind the socket: %s says %i at once', async (command, code) => {
    // As a killed agent leaves it: bound, and nobody listens.
    await run('python3', ['-c', `import socket; socket.socket(socket.AF_UNIX).bind("${socketPath()}")`]);
    const { ms, ...answer } = await timed(command);
    expect(answer).toEqual({ code });
    expect(ms).toBeLessThan(1000);
  });

  test.each([
    ['sleeps for ever', 'time.sleep(60)', 11],
    ['is busy with something else and then answers', BUSY_THEN_ANSWERS, undefined],
  ])('one that %s', async (_, does, code) => {
    const listens = [
      'import socket, struct, time',
      `s = socket.socket(socket.AF_UNIX); s.bind("${socketPath()}"); s.listen(); print('listens', flush=True)`,
      'c, _ = s.accept()',
      does,
    ];
    const program = spawn('python3', ['-c', listens.join('\n')], { stdio: ['ignore', 'pipe', 'inherit'] });
    agent = program;
    await once(program.stdout, 'data');
    const { ms, ...answer } = await timed('ADD');
    expect(answer).toEqual({ code });
    // Five seconds is what it would be without looking at the process.
    expect(ms).toBeLessThan(4500);
  });

  test('one that is stopped: 11 within a second; what was asked of it meanwhile is not done when it goes on', async () => {
    const container = cni.container();
    process.kill(cni.node.agentPid, 'SIGSTOP');
    const started = performance.now();
    try {
      await expect(cni.driver.add(cni.list(), container)).rejects.toMatchObject({ code: 11 });
    } finally {
      process.kill(cni.node.agentPid, 'SIGCONT');
    }
    // A second, and what a busy machine takes to start a program.
    expect(performance.now() - started).toBeLessThan(2500);
    await cni.add(cni.list(), container);
    await cni.driver.del(cni.list(), container);
  });

  test('VERSION needs nobody', async () => {
    const { json } = await cni.node.plugin('VERSION', 'none', {}, { FLATNET_CNI_SOCKET: socketPath() });
    expect(json).toEqual({
      cniVersion: '1.1.0',
      supportedVersions: ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'],
    });
  });

  test('killed and started again: the retry succeeds', async () => {
    const container = cni.container();
    await cni.node.stopAgent('SIGKILL');
    await expect(cni.driver.add(cni.list(), container)).rejects.toMatchObject({ code: 11 });
    await expect(cni.driver.del(cni.list(), container)).rejects.toMatchObject({ code: 11 });
    cni.node.startAgent();
    await vi.waitFor(async () => cni.driver.add(cni.list(), container), { timeout: 10_000, interval: 50 });
    expect(Ip.tryParse(cni.reservations()[0] ?? '')).toBeDefined();
    await cni.driver.del(cni.list(), container);
  });
});
