import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { hostVethName } from '../../../src/cni/host-veth.ts';
import { run } from '../../../src/kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { netnsPath } from '../../../src/kernel/netns/netns.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { removeBuild, SmallCluster, type SmallNode } from './small-cluster.ts';

interface AddJson {
  readonly cniVersion: string;
  readonly interfaces: { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
  readonly ips: { readonly address: string; readonly gateway: string; readonly version?: string }[];
  readonly routes: { readonly dst: string; readonly gw: string }[];
}

let cluster: SmallCluster;
let node: SmallNode;
let count = 0;

function newPod(): string {
  count += 1;
  const name = cluster.podName(`c${count}`);
  cluster.createNamespace(name);
  return name;
}

async function add(pod: string, config: object = {}): Promise<AddJson> {
  const { exitCode, json } = await node.plugin('ADD', pod, config);
  expect({ exitCode, json }).toMatchObject({ exitCode: 0 });
  return json as unknown as AddJson;
}

function pod<T>(name: string, look: (kernel: LinuxRouteKernel) => T): T {
  const kernel = LinuxRouteKernel.open(netnsPath(name));
  try {
    return look(kernel);
  } finally {
    kernel.close();
  }
}

const reservations = (): string[] =>
  readdirSync(join(node.folder, 'networks', 'cbr0')).filter(
    (name) => /^[0-9a-f.:]+$/.test(name) && name.includes('4'),
  );
const vethOf = (name: string) => node.kernel.link(hostVethName({ containerId: name, ifName: 'eth0' }));

vi.setConfig({ testTimeout: 90_000, hookTimeout: 150_000 });

beforeAll(async () => {
  cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 2, dualStack: true });
  for (const each of cluster.nodes) each.startAgent();
  for (const each of cluster.nodes) await each.ready();
  node = cluster.node(1);
});

afterAll(async () => {
  await cluster.stop();
  removeBuild();
});

async function checked(spoil: (name: string) => void): Promise<{ exitCode: number; words: string }> {
  const name = newPod();
  const prevResult = await add(name);
  expect(await node.plugin('CHECK', name, { prevResult })).toEqual({ exitCode: 0, json: undefined });
  spoil(name);
  const { exitCode, json } = await node.plugin('CHECK', name, { prevResult });
  return { exitCode, words: `${String(json?.['code'])} ${String(json?.['msg'])}` };
}

describe('installation', () => {
  test('the conflist names the plugin, which is executable; the socket is for root alone', () => {
    expect(JSON.parse(node.file('net.d', '10-flatnet.conflist'))).toEqual({
      cniVersion: '1.0.0',
      cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'],
      name: 'cbr0',
      plugins: [
        {
          type: 'flatnet',
          socketPath: join(node.folder, 'cni.sock'),
          capabilities: { portMappings: true, bandwidth: true, ips: true, mac: true, aliases: true },
        },
      ],
    });
    expect(statSync(join(node.folder, 'bin', 'flatnet')).mode & 0o777).toBe(0o755);
    expect(statSync(join(node.folder, 'cni.sock')).mode & 0o777).toBe(0o600);
  });
});

describe('ADD', () => {
  test('gives the pod one address of each family and everything that it needs to talk', async () => {
    const name = newPod();
    const result = await add(name);
    expect(result).toMatchObject({
      cniVersion: '1.0.0',
      interfaces: [
        { name: 'cni0' },
        { name: vethOf(name)?.name },
        { name: 'eth0', sandbox: netnsPath(name) },
      ],
      routes: [
        { dst: '0.0.0.0/0', gw: '10.244.1.1' },
        { dst: '::/0', gw: 'fd00:10:244:1::1' },
      ],
    });
    const link = pod(name, (kernel) => kernel.link('eth0'));
    expect(link).toMatchObject({ up: true, mtu: 1430 });
    expect(link?.mac?.toString()).toBe(result.interfaces[2]?.mac);
    const addresses = pod(name, (kernel) => kernel.addresses({ link: link?.index ?? 0 }))
      .filter(({ scope }) => scope === 0)
      .map(
        ({ ip, prefixLength, tentative }) =>
          `${ip.toString()}/${prefixLength}${tentative ? ' tentative' : ''}`,
      );
    expect(addresses).toEqual(result.ips.map(({ address }) => address));
    await cluster.inside(name, 'ping', '-c1', '-W1', '10.244.1.1');
    await cluster.inside(name, 'ping', '-c1', '-W1', 'fd00:10:244:1::1');
  });

  test('the result is written in the version that was asked for', async () => {
    const result = await add(newPod(), { cniVersion: '0.3.1' });
    expect(result.cniVersion).toBe('0.3.1');
    expect(result.ips.map(({ version }) => version)).toEqual(['4', '6']);
  });

  test('pods of one node and of two reach each other in both families, with the whole MTU', async () => {
    const [a, b] = [newPod(), newPod()];
    await add(a);
    const near = (await add(b)).ips.map(({ address }) => address.split('/')[0] ?? '');
    await cluster.node(2).addPod(cluster.podName('far'));
    const far = ['10.244.2.2', 'fd00:10:244:2::2'];
    for (const target of [...near, ...far]) {
      const header = target.includes(':') ? 48 : 28;
      const ping = cluster.inside(a, 'ping', '-c1', '-W2', '-M', 'do', '-s', String(1430 - header), target);
      expect(await ping).toContain(' 0% packet loss');
    }
  });

  test('twenty at once get twenty addresses', async () => {
    const pods = Array.from({ length: 20 }, newPod);
    const results = await Promise.all(pods.map(async (name) => add(name)));
    expect(new Set(results.map(({ ips }) => ips[0]?.address)).size).toBe(20);
    await Promise.all(pods.map(async (name) => node.plugin('DEL', name)));
  });

  test.each<[string, object, object, number, RegExp]>([
    [
      'a namespace that is not there',
      {},
      { CNI_NETNS: '/run/netns/fnt-nowhere' },
      3,
      /CNI_NETNS .*fnt-nowhere/,
    ],
    ['no interface name', {}, { CNI_IFNAME: '' }, 4, /CNI_IFNAME is missing/],
    ['a version of the future', { cniVersion: '9.0.0' }, {}, 1, /cniVersion "9.0.0" is not supported/],
    [
      'an interface that is there already',
      {},
      { CNI_IFNAME: 'lo' },
      4,
      /CNI_IFNAME lo exists in the container/,
    ],
    ['a file that is no namespace', {}, { CNI_NETNS: '/etc/hostname' }, 3, /CNI_NETNS \/etc\/hostname/],
    ['another sort of namespace', {}, { CNI_NETNS: '/proc/self/ns/uts' }, 3, /CNI_NETNS .*uts/],
    ['the node itself', {}, { CNI_NETNS: '/proc/self/ns/net' }, 4, /the node's own namespace/],
    ['a container id that is a path', {}, { CNI_CONTAINERID: '../../x' }, 4, /CNI_CONTAINERID/],
    ['an interface name that is a path', {}, { CNI_IFNAME: '../x' }, 4, /CNI_IFNAME/],
    ['an interface name that is a pattern', {}, { CNI_IFNAME: 'eth%d' }, 4, /CNI_IFNAME/],
    ['an interface name that means all', {}, { CNI_IFNAME: 'all' }, 4, /CNI_IFNAME/],
    ['no configuration at all', { cniVersion: undefined }, {}, 1, /cniVersion "0.1.0"/],
  ])(
    '%s is refused with the code of the specification, and nothing stays',
    async (_, config, environment, code, message) => {
      const name = newPod();
      const before = reservations();
      const { exitCode, json } = await node.plugin('ADD', name, config, environment);
      expect(exitCode).toBe(1);
      expect(json).toMatchObject({ code });
      expect(json?.['msg']).toMatch(message);
      expect(reservations()).toEqual(before);
      expect(vethOf(name)).toBeUndefined();
    },
  );

  test('a second time for one interface is refused, and leaves the first alone', async () => {
    const name = newPod();
    await add(name);
    expect(await node.plugin('ADD', name)).toMatchObject({ exitCode: 1, json: { code: 100 } });
    await cluster.inside(name, 'ping', '-c1', '-W1', '10.244.1.1');
  });

  test('without agent the plugin says what to do, as a CNI error', async () => {
    const { exitCode, json } = await node.plugin(
      'ADD',
      newPod(),
      {},
      { FLATNET_CNI_SOCKET: '/run/fnt-nowhere.sock' },
    );
    expect(exitCode).toBe(1);
    expect(json).toMatchObject({ code: 11, cniVersion: '1.0.0' });
    expect(json?.['details']).toMatch(/see that the flatnet agent runs here/);
  });
});

describe('DEL', () => {
  test('of a namespace whose mount is gone, but not its file, is done', async () => {
    const plain = join(node.folder, 'no-namespace');
    writeFileSync(plain, '');
    expect(await node.plugin('DEL', newPod(), {}, { CNI_NETNS: plain })).toMatchObject({ exitCode: 0 });
  });

  test('frees address and interface, and may be repeated, also without namespace', async () => {
    const name = newPod();
    const { ips } = await add(name);
    const ip = ips[0]?.address.split('/')[0] ?? '';
    expect(reservations()).toContain(ip);
    expect(await node.plugin('DEL', name)).toEqual({ exitCode: 0, json: undefined });
    expect(reservations()).not.toContain(ip);
    expect(vethOf(name)).toBeUndefined();
    expect(pod(name, (kernel) => kernel.link('eth0'))).toBeUndefined();
    expect(await node.plugin('DEL', name, {}, { CNI_NETNS: '' })).toMatchObject({ exitCode: 0 });
    expect(await node.plugin('DEL', name, {}, { CNI_NETNS: '/run/netns/fnt-nowhere' })).toMatchObject({
      exitCode: 0,
    });
  });
});

describe('CHECK', () => {
  test('finds a missing address', async () => {
    const spoiled = checked((name) =>
      pod(name, (kernel) => {
        const link = kernel.link('eth0')?.index ?? 0;
        const address = kernel.addresses({ link, family: 4 })[0];
        if (address !== undefined)
          kernel.deleteAddress({ link, ip: address.ip, prefixLength: address.prefixLength });
      }),
    );
    expect((await spoiled).words).toMatch(
      /^101 .*eth0 in the container lacks the address 10\.244\.1\.\d+\/24/,
    );
  });

  test('finds a missing default route', async () => {
    const spoiled = checked((name) =>
      pod(name, (kernel) => kernel.deleteRoute({ destination: Cidr.parse('0.0.0.0/0') })),
    );
    expect((await spoiled).words).toMatch(/lacks the route to 0\.0\.0\.0\/0/);
  });

  test('finds an interface that is no port of the bridge, and one that is gone', async () => {
    const unplugged = checked((name) => node.kernel.changeLink(vethOf(name)?.index ?? 0, { master: null }));
    expect((await unplugged).words).toMatch(/is not a port of cni0/);
    const gone = checked((name) => node.kernel.deleteLink(vethOf(name)?.index ?? 0));
    expect((await gone).words).toMatch(/interface eth0 in the container is missing/);
  });

  test('finds a reservation that is gone', async () => {
    const spoiled = await checked((name) => {
      const folder = join(node.folder, 'networks', 'cbr0');
      const owned = readdirSync(folder).filter((file) =>
        readFileSync(join(folder, file), 'utf8').startsWith(name),
      );
      for (const file of owned) rmSync(join(folder, file));
    });
    expect(spoiled.words).toMatch(/^101 .*no address is reserved for it/);
  });
});

describe('what others do to the node', () => {
  test('a deleted bridge comes back, with the pods that were on it', async () => {
    const name = newPod();
    await add(name);
    node.kernel.deleteLink(node.kernel.link('cni0')?.index ?? 0);
    const ping = async () => cluster.inside(name, 'ping', '-c1', '-W1', '10.244.1.1');
    expect(await vi.waitFor(ping, 5000)).toContain(' 0% packet loss');
    await cluster.inside(name, 'ping', '-c1', '-W2', '10.244.2.2');
  });

  test('a deleted tunnel device comes back, with all peers', async () => {
    const name = newPod();
    await add(name);
    node.kernel.deleteLink(node.kernel.link('flannel.1')?.index ?? 0);
    const ping = async () => cluster.inside(name, 'ping', '-c1', '-W1', '10.244.2.2');
    expect(await vi.waitFor(ping, 5000)).toContain(' 0% packet loss');
  });

  test('a smaller MTU of the underlay is followed', async () => {
    const eth0 = node.kernel.link('eth0')?.index ?? 0;
    node.kernel.changeLink(eth0, { mtu: 1400 });
    await vi.waitFor(() => expect(node.file('subnet.env')).toContain('FLANNEL_MTU=1330'));
    expect(node.kernel.link('flannel.1')?.mtu).toBe(1350);
    const name = newPod();
    await add(name);
    expect(pod(name, (kernel) => kernel.link('eth0')?.mtu)).toBe(1330);
    node.kernel.changeLink(eth0, { mtu: 1500 });
    await vi.waitFor(() => expect(node.file('subnet.env')).toContain('FLANNEL_MTU=1430'));
  });

  test('a full disk in the folder of addresses is named, and pods come again when there is room', async () => {
    const small = join(cluster.folder, 'small-disk');
    const other = cluster.node(2);
    await run('mkdir', [small]);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=64k,nr_inodes=8', 'tmpfs', small]);
    try {
      await other.stopAgent('SIGTERM');
      const paths = { confDir: 'net.d', binDir: 'bin', socketPath: 'cni.sock' };
      const cni = Object.fromEntries(
        Object.entries(paths).map(([key, path]) => [key, join(other.folder, path)]),
      );
      other.startAgent({ cni: { ...cni, dataDir: small } });
      await other.ready();
      // Root, the network's folder and the lock leave five inodes.
      for (let filler = 0; filler < 5; filler += 1) writeFileSync(join(small, `filler${filler}`), '');
      const name = newPod();
      const { json } = await other.plugin('ADD', name);
      expect(json).toMatchObject({ code: 5 });
      expect(json?.['msg']).toMatch(/cannot write .*small-disk\/cbr0\/10\.244\.2\.\d+: ENOSPC/);
      expect(json?.['details']).toMatch(/the disk is full/);
      for (let filler = 0; filler < 5; filler += 1) rmSync(join(small, `filler${filler}`));
      expect(await other.plugin('ADD', name)).toMatchObject({ exitCode: 0 });
    } finally {
      await other.stopAgent('SIGKILL');
      await run('umount', ['-l', small]);
    }
  });
});
