import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { PluginError, type Conflist } from './cni-driver.ts';
import { addressOf, CniNode } from './cni-node.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

let cni: CniNode;

vi.setConfig({ testTimeout: 90_000, hookTimeout: 150_000 });

beforeAll(async () => {
  const cluster = await SmallCluster.start({ backend: { Type: 'host-gw' }, nodes: 1, dualStack: true });
  cni = new CniNode(cluster, cluster.node(1));
  const { folder } = cni.node;
  cni.node.startAgent({
    cni: {
      confDir: join(folder, 'net.d'),
      binDir: join(folder, 'bin'),
      dataDir: join(folder, 'networks'),
      socketPath: join(folder, 'cni.sock'),
      pluginNames: ['flannel'],
      chainedPlugins: [{ type: 'tuning', sysctl: { 'net.ipv4.conf.eth0.arp_notify': '1' } }],
    },
  });
  await cni.ready();
});

afterAll(async () => {
  await cni.cluster.stop();
  removeBuild();
});

async function codeOf(action: Promise<unknown>): Promise<number> {
  return action.then(
    () => 0,
    (error: unknown) => (error instanceof PluginError ? error.code : -1),
  );
}

describe('versions of the specification', () => {
  test.each(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'])('%s: ADD, CHECK and DEL', async (cniVersion) => {
    const list = cni.list({}, { cniVersion });
    const container = cni.container();
    const result = await cni.add(list, container);
    expect(result.cniVersion).toBe(cniVersion);
    expect(result.interfaces.at(-1)?.mtu).toBe(cniVersion === '1.1.0' ? 1500 : undefined);
    expect(result.ips.map(({ version }) => version)).toEqual(
      cniVersion < '1.0.0' ? ['4', '6'] : [undefined, undefined],
    );
    expect(await codeOf(cni.driver.check(list, container))).toBe(cniVersion < '0.4.0' ? 1 : 0);
    await cni.driver.del(list, container);
    expect(cni.veth(container)).toBeUndefined();
  });

  test('a runtime takes the newest that both know of the list that the agent wrote', async () => {
    const plain = cni.list({}, { cniVersion: '1.0.0', cniVersions: ['0.4.0', '1.0.0', '1.1.0'] });
    expect((await cni.add(plain, cni.container())).cniVersion).toBe('1.1.0');
    const older = cni.driverOf('1.0.0');
    expect((await cni.add(plain, cni.container(), older)).cniVersion).toBe('1.0.0');
  });
});

describe("Debian's plugins", () => {
  const behind = [
    { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    { type: 'tuning', sysctl: { 'net.ipv4.conf.eth0.log_martians': '1' }, mac: '02:00:00:00:12:34' },
    { type: 'bandwidth', capabilities: { bandwidth: true } },
    { type: 'firewall', backend: 'iptables' },
  ];

  test('are driven rightly: bridge and host-local among themselves', async () => {
    const ipam = {
      type: 'host-local',
      ranges: [[{ subnet: '10.77.0.0/24' }]],
      dataDir: join(cni.node.folder, 'theirs'),
    };
    const list: Conflist = {
      name: 'theirs',
      cniVersion: '1.0.0',
      plugins: [{ type: 'bridge', bridge: 'fntheirs', isGateway: true, ipam }, ...behind.slice(1, 2)],
    };
    const container = cni.container();
    expect(addressOf(await cni.add(list, container))).toBe('10.77.0.2');
    await cni.driver.check(list, container);
    await cni.driver.del(list, container);
  });

  test.each(['0.3.1', '0.4.0', '1.0.0'])(
    'chain behind this one in %s, and check and end well',
    async (cniVersion) => {
      // firewall began with 0.4.0.
      const chained = behind.filter(
        ({ type }) => type !== 'bandwidth' && (type !== 'firewall' || cniVersion > '0.4'),
      );
      const list = cni.list({ capabilities: {} }, { cniVersion }, ...chained);
      const container = cni.container({
        capabilityArgs: { portMappings: [{ hostPort: 18080, containerPort: 80, protocol: 'tcp' }] },
      });
      const result = await cni.add(list, container);
      expect(result.interfaces.map(({ name }) => name)).toEqual(['cni0', cni.veth(container)?.name, 'eth0']);
      const link = cni.inside(container, (kernel) => kernel.link('eth0'));
      expect(link?.mac?.toString()).toBe('02:00:00:00:12:34');
      const rules = (await cni.node.run('iptables-save', [])).stdout;
      expect(rules).toContain(`${addressOf(result)}:80`);
      // portmap 1.1 looks for the rule of IPv4 among those of IPv6, whoever is before it.
      const checked = { ...list, plugins: list.plugins.filter(({ type }) => type !== 'portmap') };
      expect(rules.includes(`${addressOf(result)}/32`)).toBe(cniVersion !== '0.3.1');
      if (cniVersion !== '0.3.1') await cni.driver.check(checked, container);
      await cni.driver.del(list, container);
      const after = (await cni.node.run('iptables-save', [])).stdout;
      expect(after).not.toContain(`${addressOf(result)}:80`);
      expect(cni.veth(container)).toBeUndefined();
    },
  );

  test('DEL without the result that the runtime had kept is done all the same', async () => {
    const list = cni.list({ capabilities: {} }, { cniVersion: '1.0.0' }, ...behind.slice(1, 2));
    const container = cni.container();
    await cni.add(list, container);
    cni.driver.forget(list, container);
    await cni.driver.del(list, container);
    expect(cni.veth(container)).toBeUndefined();
  });

  test('an error behind this one leaves what DEL takes away', async () => {
    const list = cni.list(
      {},
      { cniVersion: '1.0.0' },
      { type: 'tuning', sysctl: { 'net.ipv4.no_such': '1' } },
    );
    const container = cni.container();
    expect(await codeOf(cni.driver.add(list, container))).not.toBe(0);
    expect(cni.veth(container)).toBeDefined();
    await cni.driver.del(list, container);
    expect(cni.veth(container)).toBeUndefined();
  });
});

describe("the agent's own list", () => {
  test('has the chained plugins behind, and runs', async () => {
    const list = JSON.parse(cni.node.file('net.d', '10-flatnet.conflist')) as Conflist;
    expect(list.plugins.map(({ type }) => type)).toEqual(['flatnet', 'tuning']);
    expect(list).toMatchObject({ cniVersion: '1.0.0', name: 'cbr0' });
    expect(list['cniVersions']).toBeUndefined();
    const container = cni.container();
    await cni.add(list, container);
    await cni.driver.check(list, container);
    await cni.driver.del(list, container);
  });
});

const conflist = (delegate: object = {}, more: object = {}): Conflist => ({
  name: 'cbr0',
  cniVersion: '0.3.1',
  plugins: [
    {
      type: 'flannel',
      socketPath: join(cni.node.folder, 'cni.sock'),
      delegate: { hairpinMode: true, isDefaultGateway: true, ...delegate },
      ...more,
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
});

describe("flannel's configuration", () => {
  test('is served by the same executable under that name', async () => {
    const container = cni.container();
    const result = await cni.add(conflist(), container);
    expect(addressOf(result)).toMatch(/^10\.244\.1\./);
    expect(result.routes).toContainEqual({ dst: '0.0.0.0/0', gw: '10.244.1.1' });
    await cni.ping(container, '10.244.1.1');
    // flannel keeps what it handed on there; DEL does without.
    expect(existsSync(join(cni.node.folder, 'flannel'))).toBe(false);
    await cni.driver.del(conflist(), container);
    await cni.driver.del(conflist(), container);
    expect(cni.veth(container)).toBeUndefined();
  });

  test('may ask for routed pods, a smaller MTU and no hairpin', async () => {
    const container = cni.container();
    const small = conflist({ mtu: 1400, hairpinMode: false });
    await cni.add(small, container);
    expect(cni.veth(container)).toMatchObject({ mtu: 1400, port: { hairpin: false } });
    await cni.driver.del(small, container);
    const routed = cni.container();
    const result = await cni.add(conflist({ type: 'ptp' }), routed);
    expect(result.ips[0]?.address).toMatch(/^10\.244\.1\.\d+\/32$/);
    await cni.driver.del(conflist({ type: 'ptp' }), routed);
  });

  test.each([
    ['another bridge', { bridge: 'docker0' }, /bridge: .*docker0.* is not the node's bridge cni0/],
    ['a VLAN', { vlan: 7 }, /delegate\.vlan: VLANs are not supported/],
    ['a plugin of another kind', { type: 'macvlan' }, /delegate\.type: must be bridge or ptp/],
    ['a name of its own', { name: 'x' }, /delegate\.name: 'delegate' must not have a name/],
  ])('%s is refused with the field', async (_, delegate, words) => {
    const container = cni.container();
    const failed = cni.driver.add(conflist(delegate), container);
    await expect(failed).rejects.toThrow(words);
    await expect(failed).rejects.toMatchObject({ code: 7 });
    expect(cni.records()).not.toContain(`${container.id}:eth0`);
  });
});

describe('records', () => {
  test('tell of every attachment, with mode 0600, and go with it', async () => {
    const args = 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0';
    const container = cni.container({ args });
    const result = await cni.add(cni.list(), container);
    expect(statSync(cni.journal).mode & 0o777).toBe(0o600);
    expect(cni.written().get(`${container.id}:eth0`)).toMatchObject({
      containerID: container.id,
      ifname: 'eth0',
      network: 'cbr0',
      netns: container.netns,
      pod: 'shop/web-0',
      mode: 'bridge',
      hostInterface: cni.veth(container)?.name,
      addresses: result.ips.map(({ address, gateway }) => ({ address, gateway })),
    });
    await cni.driver.del(cni.list(), container);
    expect(cni.records()).not.toContain(`${container.id}:eth0`);
  });
});
