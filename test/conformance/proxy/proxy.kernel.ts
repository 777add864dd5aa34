import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { NftSocket } from '../../../src/kernel/nft/nft-socket.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';
import { NftablesBackend } from '../../../src/proxy/backends/nftables/backend.ts';
import { PODS, TestCluster, type TestService } from './cluster.ts';
import { ProxyNetwork, type Host } from './network.ts';

const network = new ProxyNetwork(`fnt-px${process.pid}`);
const { node, podA, podB, remote, outside } = network;
let nft: NftSocket;
let backend: NftablesBackend;
let cluster: TestCluster;

const NODE_IPS = [Ip.parse('10.250.0.1'), Ip.parse('fd00:250::1')];

const OPTIONS: ProxySettings = {
  families: [4, 6],
  nodeIps: NODE_IPS,
  nodePortAddresses: NODE_IPS,
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')] },
  serviceCidrs: [Cidr.parse('10.96.0.0/16'), Cidr.parse('fd00:10:96::/112')],
  masqueradeAll: false,
  masqueradeBit: 14,
};

const WEB: TestService = { name: 'web', clusterIps: ['10.96.0.80', 'fd00:10:96::80'], port: 80 };
const NODE_PORT: TestService = {
  ...WEB,
  name: 'public',
  clusterIps: ['10.96.0.81', 'fd00:10:96::81'],
  nodePort: 30080,
};
const STICKY: TestService = {
  ...WEB,
  name: 'sticky',
  clusterIps: ['10.96.0.82', 'fd00:10:96::82'],
  affinitySeconds: 100,
};
const DNS: TestService = {
  ...WEB,
  name: 'dns',
  clusterIps: ['10.96.0.10'],
  port: 53,
  targetPort: 53,
  protocol: 'UDP',
};

beforeAll(async () => {
  await network.start();
  nft = NftSocket.open({ netns: node.netns.fd });
});

afterAll(async () => {
  nft.close();
  await network.stop();
});

beforeEach(async () => {
  backend = new NftablesBackend(nft, OPTIONS);
  await backend.prepare();
  await backend.rebuild([]);
  cluster = new TestCluster(backend);
});

async function callMany(from: Host, host: string, port: number, count: number): Promise<Map<string, number>> {
  const counts = new Map<string, number>();
  for (let done = 0; done < count; done += 50) {
    const results = await Promise.all(Array.from({ length: 50 }, async () => from.call(host, port)));
    for (const { reply, error } of results) {
      const who = reply?.split(' ')[0] ?? error ?? '';
      counts.set(who, (counts.get(who) ?? 0) + 1);
    }
  }
  return counts;
}

const seen = async (from: Host, host: string, port: number): Promise<string> => {
  const { reply, error } = await from.call(host, port);
  return reply ?? error ?? '';
};

describe.each([
  ['IPv4', { vip: 0, a: PODS.a.v4, remotePod: PODS.remote.v4, node: '10.250.0.1', bridge: '10.244.1.1' }],
  [
    'IPv6',
    { vip: 1, a: PODS.a.v6, remotePod: PODS.remote.v6, node: 'fd00:250::1', bridge: 'fd00:10:244:1::1' },
  ],
] as const)('%s', (_, at) => {
  const web = WEB.clusterIps[at.vip] ?? '';
  const nodePort = NODE_PORT.clusterIps[at.vip] ?? '';
  const sticky = STICKY.clusterIps[at.vip] ?? '';

  test('a pod reaches a ClusterIP; the endpoint sees the pod, on this node and on another', async () => {
    cluster.set(WEB, ['b']);
    expect(await seen(podA, web, 80)).toBe(`pod-b ${at.a}`);
    cluster.set(WEB, ['remote']);
    expect(await seen(podA, web, 80)).toBe(`remote ${at.a}`);
  });

  test('a pod reaches itself through its Service, seen as coming from the node', async () => {
    cluster.set(WEB, ['a']);
    expect(await seen(podA, web, 80)).toBe(`pod-a ${at.bridge}`);
  });

  test('the node itself and machines off the cluster reach a ClusterIP, masqueraded', async () => {
    cluster.set(WEB, ['a']);
    expect(await seen(node, web, 80)).toBe(`pod-a ${at.bridge}`);
    expect(await seen(outside, web, 80)).toBe(`pod-a ${at.bridge}`);
    cluster.set(WEB, ['remote']);
    expect(await seen(outside, web, 80)).toBe(`remote ${at.node}`);
  });

  test('a node port answers on the node address from everywhere, and nowhere else', async () => {
    cluster.set(NODE_PORT, ['remote']);
    for (const from of [outside, remote, node, podA]) {
      expect(await seen(from, at.node, 30080)).toBe(`remote ${at.node}`);
    }
    expect(await seen(podA, nodePort, 80)).toBe(`remote ${at.a}`);
    expect(await seen(podA, at.bridge, 30080)).toBe('ECONNREFUSED');
  });

  test('without endpoints a connection is refused at once, not left to time out', async () => {
    cluster.set(NODE_PORT, []);
    for (const [from, host, port] of [
      [podA, nodePort, 80],
      [node, nodePort, 80],
      [outside, nodePort, 80],
      [outside, at.node, 30080],
    ] as const) {
      const { error, ms } = await from.call(host, port);
      expect(error).toBe('ECONNREFUSED');
      expect(ms).toBeLessThan(500);
    }
    cluster.set(NODE_PORT, ['a']);
    expect(await seen(outside, at.node, 30080)).toBe(`pod-a ${at.bridge}`);
  });

  test('other ports of a ClusterIP are refused, addresses that no Service has are dropped', async () => {
    cluster.set(WEB, ['a']);
    expect(await seen(podB, web, 81)).toBe('ECONNREFUSED');
    const nobody = at.vip === 0 ? '10.96.0.99' : 'fd00:10:96::99';
    expect((await podB.call(nobody, 80, { timeoutMs: 300 })).error).toBe('ETIMEDOUT');
  });

  test('connections are spread evenly (chi-square, 1 in 10,000 fails by chance)', async () => {
    cluster.set(WEB, ['a', 'b', 'remote']);
    const counts = await callMany(node, web, 80, 600);
    const chiSquare = ['pod-a', 'pod-b', 'remote'].reduce(
      (sum, name) => sum + ((counts.get(name) ?? 0) - 200) ** 2 / 200,
      0,
    );
    expect([...counts.keys()].sort()).toEqual(['pod-a', 'pod-b', 'remote']);
    // Two degrees of freedom: exp(-x / 2) = 1e-4.
    expect(chiSquare).toBeLessThan(18.42);
  });

  test('scaling is followed by the next connection', async () => {
    cluster.set(WEB, ['a', 'b', 'remote']);
    cluster.set(WEB, ['b']);
    expect([...(await callMany(podA, web, 80, 50)).keys()]).toEqual(['pod-b']);
    cluster.set(WEB, ['b', 'remote']);
    expect([...(await callMany(podA, web, 80, 50)).keys()].sort()).toEqual(['pod-b', 'remote']);
  });

  test('a connection outlives its endpoint in the Service, and the Service; new ones are refused', async () => {
    const echo = { ...WEB, port: 7, targetPort: 7 };
    const connection = `to ${web}`;
    const held = async (from: Host): Promise<string | undefined> =>
      (await from.call(web, 7, { connection })).reply;
    cluster.set(echo, ['a']);
    expect([await held(podB), await held(node)]).toEqual(['pod-a hello', 'pod-a hello']);
    cluster.set(echo, ['remote']);
    expect([await held(podB), await held(node)]).toEqual(['pod-a hello', 'pod-a hello']);
    cluster.set(echo, []);
    expect([await held(podB), await held(node)]).toEqual(['pod-a hello', 'pod-a hello']);
    expect([await seen(podB, web, 7), await seen(node, web, 7)]).toEqual(['ECONNREFUSED', 'ECONNREFUSED']);
    cluster.delete(echo);
    expect([await held(podB), await held(node)]).toEqual(['pod-a hello', 'pod-a hello']);
  });

  test('a client with session affinity stays with its endpoint while that is there', async () => {
    cluster.set(STICKY, ['a', 'b', 'remote']);
    const first = (await seen(outside, sticky, 80)).split(' ')[0] ?? '';
    expect([...(await callMany(outside, sticky, 80, 50)).keys()]).toEqual([first]);
    const others = (['a', 'b', 'remote'] as const).filter((pod) => ![`pod-${pod}`, pod].includes(first));
    cluster.set(STICKY, others);
    const second = (await seen(outside, sticky, 80)).split(' ')[0] ?? '';
    expect(second).not.toBe(first);
    expect([...(await callMany(outside, sticky, 80, 50)).keys()]).toEqual([second]);
  });
});

describe('UDP', () => {
  test('without endpoints the client is told', async () => {
    cluster.set(DNS, []);
    const { error, ms } = await podA.call('10.96.0.10', 53, { protocol: 'UDP' });
    expect(error).toBe('ECONNREFUSED');
    expect(ms).toBeLessThan(500);
  });
});
