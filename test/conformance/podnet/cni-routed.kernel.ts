import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { Cidr } from '../../../src/net/cidr.ts';
import type { Container } from './cni-driver.ts';
import { addressOf, CniNode, type AddJson } from './cni-node.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

let routed: CniNode;
let bridged: CniNode;
let pod: Container;
let result: AddJson;

const cniOf = ({ node }: CniNode, mode: string) => ({
  cni: {
    confDir: join(node.folder, 'net.d'),
    binDir: join(node.folder, 'bin'),
    dataDir: join(node.folder, 'networks'),
    socketPath: join(node.folder, 'cni.sock'),
    mode,
  },
});

vi.setConfig({ testTimeout: 90_000, hookTimeout: 150_000 });

beforeAll(async () => {
  const cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 2, dualStack: true });
  routed = new CniNode(cluster, cluster.node(1));
  bridged = new CniNode(cluster, cluster.node(2));
  routed.node.startAgent(cniOf(routed, 'ptp'));
  bridged.node.startAgent();
  for (const each of [routed, bridged]) await each.ready();
  pod = routed.container();
  result = await routed.add(routed.list(), pod);
});

afterAll(async () => {
  await routed.cluster.stop();
  removeBuild();
});

describe('a routed pod', () => {
  test('is alone on its link, as with Calico', async () => {
    expect(result.interfaces.map(({ name }) => name)).toEqual([routed.veth(pod)?.name, 'eth0']);
    expect(result.ips.map(({ address, gateway }) => `${address} ${gateway ?? ''}`)).toEqual([
      '10.244.1.2/32 169.254.1.1',
      'fd00:10:244:1::2/128 fe80::ecee:eeff:feee:eeee',
    ]);
    expect(routed.veth(pod)).toMatchObject({ up: true, mtu: 1430 });
    expect(routed.veth(pod)?.mac?.toString()).toBe('ee:ee:ee:ee:ee:ee');
    const routes = await routed.cluster.inside(pod.id, 'ip', 'route');
    expect(routes).toContain('default via 169.254.1.1 dev eth0');
    expect(routes).toContain('169.254.1.1 dev eth0 scope link');
    expect(routed.node.kernel.link('cni0')).toBeUndefined();
    const host = (await routed.node.run('ip', ['route'])).stdout;
    expect(host).toContain(`10.244.1.2 dev ${routed.veth(pod)?.name ?? ''}`);
    expect(host).toContain('blackhole 10.244.1.0/24');
  });

  test('reaches its neighbours, the node, other nodes and their pods, in both families', async () => {
    const near = routed.container();
    const nearby = await routed.add(routed.list(), near);
    const far = bridged.container();
    const distant = await bridged.add(bridged.list(), far);
    for (const index of [0, 1]) {
      await routed.ping(pod, addressOf(nearby, index));
      await routed.ping(pod, addressOf(distant, index));
      await bridged.ping(far, addressOf(result, index));
      await routed.node.run('ping', ['-c1', '-W2', addressOf(result, index)]);
      await bridged.node.run('ping', ['-c1', '-W2', addressOf(result, index)]);
    }
    await routed.ping(pod, routed.node.ip);
    await routed.driver.del(routed.list(), near);
    expect((await routed.node.run('ip', ['route'])).stdout).not.toContain(addressOf(nearby));
  });

  test('passes CHECK, which finds a route of the node that is gone, and the agent brings it back', async () => {
    await routed.driver.check(routed.list(), pod);
    const destination = Cidr.parse('10.244.1.2/32');
    routed.node.kernel.deleteRoute({ destination });
    await routed.driver.check(routed.list(), pod).then(
      () => undefined,
      (error: unknown) => expect(String(error)).toMatch(/lacks the route to 10\.244\.1\.2\/32/),
    );
    await vi.waitFor(async () => routed.driver.check(routed.list(), pod), { timeout: 5000, interval: 50 });
    await routed.ping(pod, routed.node.ip);
  });

  test('keeps its connection while the agent is killed, and is known to the next', async () => {
    await routed.node.stopAgent('SIGKILL');
    await routed.ping(pod, bridged.node.ip);
    routed.node.startAgent(cniOf(routed, 'ptp'));
    await routed.ready();
    await expect(routed.driver.check(routed.list(), pod)).resolves.toBeUndefined();
  });

  test('stays when the node goes over to a bridge, and back', async () => {
    await routed.node.stopAgent('SIGTERM');
    routed.node.startAgent(cniOf(routed, 'bridge'));
    await routed.ready();
    const other = routed.container();
    const onBridge = await routed.add(routed.list(), other);
    expect(onBridge.interfaces[0]?.name).toBe('cni0');
    await routed.ping(pod, addressOf(onBridge));
    await routed.ping(other, addressOf(result));
    await routed.ping(pod, bridged.node.ip);
    await routed.node.stopAgent('SIGTERM');
    routed.node.startAgent(cniOf(routed, 'ptp'));
    await routed.ready();
    await routed.ping(pod, addressOf(onBridge));
    await routed.driver.del(routed.list(), other);
  });

  test('sends every size up to its MTU', async () => {
    for (const [to, header] of [
      [bridged.node.ip, 28],
      ['fd00:10:244:2::1', 48],
    ] as const) {
      const ping = routed.cluster.inside(
        pod.id,
        'ping',
        '-c1',
        '-W2',
        '-M',
        'do',
        '-s',
        String(1430 - header),
        to,
      );
      expect(await ping).toContain(' 0% packet loss');
    }
  });
});
