import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../../src/etcd/endpoint.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import { RealEtcd } from '../../../src/etcd/real-etcd.ts';
import type { Publication } from '../../../src/podnet/stores/lease-store.ts';
import { Relay } from './relay.ts';
import { EtcdNode, PREFIX, publicationOf, SUBNETS, type EtcdNodeOptions } from './etcd-node.ts';

const CONFIG = '{ "Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}';
const [A, B] = [
  publicationOf('192.0.2.1', '0a:00:00:00:00:01'),
  publicationOf('192.0.2.2', '0a:00:00:00:00:02'),
];
const DUAL = JSON.stringify({
  Network: '10.244.0.0/16',
  EnableIPv6: true,
  IPv6Network: 'fd00:10:244::/48',
  Backend: { Type: 'vxlan' },
});

let etcd: RealEtcd;
let nodes: EtcdNode[] = [];

beforeAll(async () => {
  etcd = await RealEtcd.start();
});
beforeEach(async () => {
  await etcd.ctl('del', '/', '--prefix');
});
afterEach(async () => {
  await Promise.all(nodes.map(async (node) => node.stop()));
  nodes = [];
});
afterAll(async () => etcd?.remove());

/** Other tests may have the machine at the same time. */
const until = <T>(read: () => T, options = { timeout: 25_000 }): ReturnType<typeof expect.poll<T>> =>
  expect.poll(read, options);

/** A node that runs when the configuration is there. */
async function join(publication = A, options: EtcdNodeOptions = {}): Promise<EtcdNode> {
  const node = new EtcdNode(etcd, publication, options);
  nodes.push(node);
  await node.store.networkConfig(AbortSignal.timeout(20_000));
  return node.start();
}

async function joined(publication = A, options: EtcdNodeOptions = {}): Promise<EtcdNode> {
  const node = await join(publication, options);
  await until(() => node.subnet).not.toBe('');
  return node;
}

const keys = async (): Promise<string[]> =>
  (await etcd.ctl('get', SUBNETS, '--prefix', '--keys-only')).split(/\s+/).filter((key) => key !== '');
const value = async (subnet: string): Promise<string> =>
  etcd.ctl('get', SUBNETS + subnet, '--print-value-only');
const leaseOf = async (subnet: string): Promise<string> => {
  const found = await etcd.ctl('get', SUBNETS + subnet, '-w', 'json');
  // 63 bits, more than a number has.
  return /"lease":(\d+)/.exec(found)?.[1] ?? '0';
};

describe("flannel's keys and values", () => {
  test('the configuration of the guides is waited for, and a lease is what flannel makes', async () => {
    const starting = joined();
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const node = await starting;
    expect(node.subnet).toMatch(/^10\.244\.\d+\.0-24$/);
    expect(await value(node.subnet)).toBe(
      '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}}',
    );
    const [, lease = ''] = /^([\da-f]{16})$/m.exec(await etcd.ctl('lease', 'list')) ?? [];
    const told = await etcd.ctl('lease', 'timetolive', lease, '--keys');
    expect(told).toMatch(/granted with TTL\(86400s\), remaining\(863\d\ds\), attached keys\(\[.*\]\)$/);
    expect(told).toContain(SUBNETS + node.subnet);
  });

  test('nodes see each other, and a leaving lease', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A), joined(B)]);
    await until(() => [[...a.peers.keys()], [...b.peers.keys()]]).toEqual([[b.subnet], [a.subnet]]);
    const peer = a.peers.get(b.subnet);
    expect(peer?.families.get(4)?.publicIp.toString()).toBe('192.0.2.2');
    expect(peer?.offers[0].data.get(4)).toEqual({ VNI: 1, VtepMAC: '0a:00:00:00:00:02' });
    // flannel's leases do not name their nodes: then it is the address that people know.
    expect(peer?.alias).toBe('node');
    await b.stop();
    await etcd.ctl('del', SUBNETS + b.subnet);
    await until(() => a.peers.size).toBe(0);
    await etcd.ctl('put', `${SUBNETS}10.244.250.0-24`, '{"PublicIP":"192.0.2.50","BackendType":"host-gw"}');
    await until(() => a.peers.get('10.244.250.0-24')?.alias).toBe('192.0.2.50');
  });

  test('what flannel has no room for stands beside its keys, and is seen by the others', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const about = {
      device: 'eth0',
      reason: 'default route',
      mtu: 8000,
      subnets: [],
      backends: [],
      met: true,
    };
    const [a, b] = await Promise.all([joined(A), joined({ ...B, about })]);
    await until(() => a.peers.get(b.subnet)?.underlayMtu).toBe(8000);
    b.publish({ ...B, about: { ...about, mtu: 1400 } });
    await until(() => a.peers.get(b.subnet)?.underlayMtu).toBe(1400);
    expect(await etcd.ctl('get', `${PREFIX}/flatnet/nodes/${b.subnet}`, '--print-value-only')).toContain(
      '"node":"node","device":"eth0"',
    );
    expect(await value(b.subnet)).not.toContain('eth0');
    await b.stop();
    await etcd.ctl('lease', 'revoke', BigInt(await leaseOf(b.subnet)).toString(16));
    await until(() => a.peers.size).toBe(0);
    expect(await etcd.ctl('get', `${PREFIX}/flatnet/nodes/${b.subnet}`)).toBe('');
  });

  test('a dual-stack lease has both subnets in its name', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, DUAL);
    const node = await joined(publicationOf('192.0.2.1', '0a:00:00:00:00:01', '2001:db8::1'));
    const number = Number(node.subnet.split('.')[2]);
    expect(node.subnet).toBe(`10.244.${number}.0-24&fd00:10:244:${number.toString(16)}::-64`);
    expect(await value(node.subnet)).toBe(
      '{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"},"BackendV6Data":{"VNI":1,"VtepMAC":"0a:00:00:00:00:01"}}',
    );
  });
});

describe('a lease is found again', () => {
  test('after a restart by its public IP, and without a word to the others', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const first = await joined();
    await first.stop();
    const before = await etcd.ctl('get', SUBNETS + first.subnet, '-w', 'json');
    const node = new EtcdNode(etcd, A, { ownAddresses: [Ip.parse('192.0.2.1')] });
    nodes.push(node);
    await node.store.networkConfig(AbortSignal.timeout(20_000));
    // What it was, before it says what it wants: a MAC is kept.
    node.publishes = false;
    node.start();
    await until(() => node.self?.published?.data.get(4)).toEqual(A.offers[0].data.get(4));
    await node.stop();
    const again = await joined();
    expect(again.subnet).toBe(first.subnet);
    expect(JSON.parse(await etcd.ctl('get', SUBNETS + first.subnet, '-w', 'json'))).toMatchObject({
      kvs: (JSON.parse(before) as { kvs: unknown[] }).kvs,
    });
    expect(await keys()).toEqual([SUBNETS + first.subnet]);
  });

  test('by the subnet of subnet.env when it has ended, or by its MAC when the node has another address', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const previous = new Map([[4 as const, Cidr.parse('10.244.77.0/24')]]);
    const first = await joined(A, { previous });
    expect(first.subnet).toBe('10.244.77.0-24');
    await first.stop();
    const moved = await joined(publicationOf('192.0.2.99', '0a:00:00:00:00:01'), { previous });
    expect(moved.subnet).toBe('10.244.77.0-24');
    expect(await value('10.244.77.0-24')).toContain('"PublicIP":"192.0.2.99"');
    await moved.stop();
    // Another node's lease is not taken, whatever subnet.env says.
    const other = await joined(B, { previous });
    expect(other.subnet).not.toBe('10.244.77.0-24');
    expect(other.self?.problems.map(({ message }) => message).join()).toContain(
      'no longer holds the subnet 10.244.77.0/24 (etcd /coreos.com/network/subnets/10.244.77.0-24, of 192.0.2.99)',
    );
  });

  test('a reservation is taken, stays without a lease, and may be made while the node runs', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    await etcd.ctl('put', `${SUBNETS}10.244.200.0-24`, '{"PublicIP":"192.0.2.1"}');
    const node = await joined();
    expect(node.subnet).toBe('10.244.200.0-24');
    expect(await value(node.subnet)).toContain('"VtepMAC":"0a:00:00:00:00:01"');
    expect(await leaseOf(node.subnet)).toBe('0');

    const other = await joined(B);
    expect(await leaseOf(other.subnet)).not.toBe('0');
    await etcd.ctl('put', SUBNETS + other.subnet, await value(other.subnet));
    await other.stop();
    const again = await joined(B);
    expect(again.subnet).toBe(other.subnet);
    expect(await leaseOf(other.subnet)).toBe('0');
  });

  test('two nodes with one public IP do not share a subnet', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const one = await joined(A, { nodeName: 'one' });
    const two = await joined(publicationOf('192.0.2.1', '0a:00:00:00:00:02'), { nodeName: 'two' });
    expect(two.subnet).not.toBe(one.subnet);
    // Told as a peer, which the backends then refuse by name.
    await until(() => [...one.peers.keys()]).toEqual([two.subnet]);
    await one.stop();
    expect((await joined(A, { nodeName: 'one' })).subnet).toBe(one.subnet);
  });

  test('a changed publication is written into the same lease', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A), joined(B)]);
    const { subnet } = b;
    const lease = await leaseOf(subnet);
    b.publish(publicationOf('192.0.2.22', '0a:00:00:00:00:22'));
    await until(() => a.peers.get(subnet)?.families.get(4)?.publicIp.toString()).toBe('192.0.2.22');
    expect(b.subnet).toBe(subnet);
    expect(await leaseOf(subnet)).toBe(lease);
    // From which the node itself knows that it is there.
    await until(() => b.self?.published?.data.get(4)).toEqual({ VNI: 1, VtepMAC: '0a:00:00:00:00:22' });
  });

  test('it counts as published when etcd has told it back, not before and not when it is gone', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const relay = await Relay.to(etcd.endpoint);
    const node = await joined(A, { access: { endpoints: [parseEndpoint(relay.endpoint)] } });
    await until(() => node.store.isPublished).toBe(true);
    relay.cut(true);
    const next = publicationOf('192.0.2.1', '0a:00:00:00:00:22');
    node.publish(next);
    expect(node.store.isPublished).toBe(false);
    // What the agent waits for: it is called when there is news.
    let isTold = false;
    node.onSelf = () => (isTold ||= node.store.isPublished);
    relay.cut(false);
    await until(() => isTold).toBe(true);
    expect(await value(node.subnet)).toContain('0a:00:00:00:00:22');
    await etcd.ctl('put', SUBNETS + node.subnet, '{"PublicIP":"192.0.2.9"}');
    await until(() => node.store.isPublished).toBe(false);
    await node.stop();
    await relay.close();
  });
});

/** What a flanneld writes. */
const claim = (ip: string): string =>
  `{"PublicIP":"${ip}","PublicIPv6":"2001:db8::${ip.split('.')[3]}","BackendType":"host-gw"}`;
/** A node with both families. */
const dual = (number: number): Publication =>
  publicationOf(`192.0.2.${number}`, `0a:00:00:00:00:0${number}`, `2001:db8::${number}`);
const sixthOf = (subnet: string): string => subnet.split('&')[1] ?? '';

describe('a flanneld that claims in the same moment, which it does by the name of both families alone', () => {
  test('a subnet that both have: this node takes another one, and says so', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, DUAL);
    const [node, other] = await Promise.all([joined(dual(1)), joined(dual(2))]);
    const [before, theirs] = [node.subnet, `10.244.250.0-24&${sixthOf(node.subnet)}`];
    await etcd.ctl('put', SUBNETS + theirs, claim('192.0.2.9'));
    await until(() => sixthOf(node.subnet)).not.toBe(sixthOf(before));
    // Pods with IPv4 addresses notice nothing.
    expect(node.subnet.split('&')[0]).toBe(before.split('&')[0]);
    expect(node.self?.problems.map(({ code }) => code)).toEqual(['SUBNET_LOST']);
    await until(() => [...other.peers.keys()].toSorted()).toEqual([node.subnet, theirs].toSorted());
    expect([...(other.peers.get(theirs)?.families.keys() ?? [])]).toEqual([4, 6]);
    expect(other.problems.size).toBe(0);
  });

  test('two of theirs: the older has it, the newer is reached by the other family, and that is told', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, DUAL);
    // By name the newer one comes first, as it does in a list.
    const [older, newer] = ['10.244.201.0-24&fd00:10:244:c8::-64', '10.244.200.0-24&fd00:10:244:c8::-64'];
    const early = await joined(dual(1));
    await etcd.ctl('put', SUBNETS + older, claim('192.0.2.8'));
    await etcd.ctl('put', SUBNETS + newer, claim('192.0.2.9'));
    const late = await joined(dual(2));
    for (const node of [early, late]) {
      const families = (key: string): number[] => [...(node.peers.get(key)?.families.keys() ?? [])];
      await until(() => [families(older), families(newer)]).toEqual([[4, 6], [4]]);
      expect(node.problems.get(newer)).toContain(
        `fd00:10:244:c8::/64 is in the older lease ${SUBNETS}${older} of 192.0.2.8, too`,
      );
    }
    await etcd.ctl('del', SUBNETS + older);
    await until(() => early.peers.get(newer)?.families.size).toBe(2);
    expect(early.problems.size).toBe(0);
  });
});

describe('time', () => {
  const short = { leaseSeconds: 3, renewMarginSeconds: 2.5 };

  test('a lease is renewed as long as its node lives, and ends after it', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A, short), joined(B, short)]);
    const { subnet } = b;
    await b.stop();
    await until(() => a.peers.size).toBe(0);
    await until(keys).toEqual([SUBNETS + a.subnet]);
    expect(subnet).not.toBe('');
  });

  test('a lease that somebody deleted is claimed again; a subnet that another has is not', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const node = await joined();
    const { subnet } = node;
    await etcd.ctl('del', SUBNETS + subnet);
    await until(keys).toEqual([SUBNETS + subnet]);
    expect(node.subnet).toBe(subnet);
    // As if it had ended while this node was away, and another one had been faster.
    await etcd.ctl('put', SUBNETS + subnet, '{"PublicIP":"192.0.2.7"}');
    await node.stop();
    const back = await joined(A, { previous: new Map([[4 as const, Cidr.parse(subnet.replace('-', '/'))]]) });
    expect(back.subnet).not.toBe(subnet);
    expect(back.self?.problems[0]?.code).toBe('SUBNET_LOST');
  });

  test('cut off for longer than its lease: a node has its subnet again if it is free, else another one, and says so', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const relay = await Relay.to(etcd.endpoint);
    const access = { endpoints: [parseEndpoint(relay.endpoint)] as const };
    const node = await joined(A, { access, leaseSeconds: 1, renewMarginSeconds: 0.6, nodeName: 'cut-off' });
    const { subnet } = node;
    const cutOff = async (): Promise<void> => {
      relay.cut(true);
      await until(keys).toEqual([]);
      // It hears nothing, and goes on with what it has.
      await until(() => node.store.failure).toBeDefined();
      expect(node.subnet).toBe(subnet);
    };
    await cutOff();
    relay.cut(false);
    await until(keys).toEqual([SUBNETS + subnet]);
    await until(() => node.store.failure).toBeUndefined();
    expect([node.subnet, node.self?.problems]).toEqual([subnet, []]);

    await cutOff();
    const previous = new Map([[4 as const, Cidr.parse(subnet.replace('-', '/'))]]);
    const other = await joined(B, { previous, nodeName: 'other' });
    expect(other.subnet).toBe(subnet);
    relay.cut(false);
    await until(() => node.subnet).not.toBe(subnet);
    expect(node.self?.problems.map(({ message }) => message)).toEqual([
      expect.stringMatching(
        /^this node no longer holds the subnet .* \(etcd .*, of 192\.0\.2\.2\), and has .* now: pods that run here with addresses of the old one are not reachable/,
      ),
    ]);
    expect(other.subnet).toBe(subnet);
    await until(async () => (await keys()).length).toBe(2);
    await node.stop();
    await relay.close();
  });

  test('started while etcd is away, with what the run before knew: it has its subnet again, or hears that it is lost', async () => {
    const networkText = '{"Network":"10.244.0.0/24","SubnetLen":26}';
    await etcd.ctl('put', `${PREFIX}/config`, networkText);
    const previous = new Map([[4 as const, Cidr.parse('10.244.0.64/26')]]);
    await etcd.stop();
    const start = (publication: Publication): EtcdNode => {
      const node = new EtcdNode(etcd, publication, { networkText, previous });
      nodes.push(node);
      node.store.publish(publication);
      return node.start();
    };
    const node = start(A);
    expect(node.store.network?.networks.get(4)?.toString()).toBe('10.244.0.0/24');
    await until(() => node.store.failure).toBeDefined();
    expect(node.self).toBeUndefined();
    await etcd.start();
    await until(() => node.subnet).toBe('10.244.0.64-26');
    for (const last of [128, 192])
      await etcd.ctl('put', `${SUBNETS}10.244.0.${last}-26`, `{"PublicIP":"192.0.2.${last}"}`);
    const late = start(B);
    await until(() => late.self?.problems.map(({ code }) => code)).toEqual(['SUBNET_LOST']);
    expect(late.subnet).toBe('');
  });

  test('etcd killed and started: peers stay, the lease goes on; what happened meanwhile is seen', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A, short), joined(B, short)]);
    const subnets = [a.subnet, b.subnet];
    await etcd.stop();
    await until(() => a.store.failure).toBeDefined();
    expect(a.peers.size).toBe(1);
    expect(a.subnet).toBe(subnets[0]);
    await etcd.start();
    await until(() => [a.store.failure, b.store.failure]).toEqual([undefined, undefined]);
    await etcd.ctl('put', `${SUBNETS}10.244.250.0-24`, '{"PublicIP":"192.0.2.50","BackendType":"host-gw"}');
    await until(() => a.peers.has('10.244.250.0-24')).toBe(true);
    expect([a.subnet, b.subnet]).toEqual(subnets);
    await until(keys).toEqual(expect.arrayContaining(subnets.map((subnet) => SUBNETS + subnet)));
  });

  test('an etcd that lost everything takes nothing down, and is filled again', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A), joined(B)]);
    const subnets = [a.subnet, b.subnet];
    // The revision is far behind afterwards.
    for (let i = 0; i < 5; i += 1) await etcd.ctl('put', '/x', String(i));
    await etcd.wipe();
    await until(() => String(a.store.failure)).toContain('is gone');
    expect(a.peers.size).toBe(1);
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    await until(keys).toEqual(subnets.map((subnet) => SUBNETS + subnet).toSorted());
    await until(() => [a.store.failure, b.store.failure]).toEqual([undefined, undefined]);
    expect([a.gone, b.gone]).toEqual([[], []]);
    expect([a.subnet, b.subnet]).toEqual(subnets);
  });

  test('compaction while the connection is lost: everything is listed again, deletions too', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const node = await joined(A);
    await etcd.ctl('put', `${SUBNETS}10.244.250.0-24`, '{"PublicIP":"192.0.2.50","BackendType":"host-gw"}');
    await until(() => node.peers.size).toBe(1);
    etcd.freeze(true);
    await until(() => node.store.failure).toBeDefined();
    etcd.freeze(false);
    await etcd.ctl('del', `${SUBNETS}10.244.250.0-24`);
    const put = await etcd.ctl('put', `${SUBNETS}10.244.251.0-24`, '{"PublicIP":"192.0.2.51"}', '-w', 'json');
    const { header } = JSON.parse(put) as { header: { revision: number } };
    await etcd.ctl('compaction', String(header.revision));
    await until(() => [...node.peers.keys()]).toEqual(['10.244.251.0-24']);
    expect(node.store.failure).toBeUndefined();
  });
});

describe('what others write', () => {
  test('a wrong lease is told by key and field, and keeps its subnet; the rest goes on', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, '{"Network":"10.244.0.0/24","SubnetLen":26}');
    await etcd.ctl('put', `${SUBNETS}10.244.0.64-26`, '{"PublicIP":"nowhere"}');
    await etcd.ctl('put', `${SUBNETS}10.244.0.128-26`, 'not JSON');
    await etcd.ctl('put', `${SUBNETS}10.9.0.0-24`, '{"PublicIP":"192.0.2.9"}');
    await etcd.ctl('put', `${SUBNETS}nonsense`, '{}');
    const node = await joined();
    expect(node.subnet).toBe('10.244.0.192-26');
    await until(() => Object.fromEntries(node.problems)).toMatchObject({
      '10.244.0.64-26': `etcd ${SUBNETS}10.244.0.64-26: PublicIP is "nowhere", not an IPv4 address`,
      '10.244.0.128-26': `etcd ${SUBNETS}10.244.0.128-26: is "not JSON", which is not JSON`,
      '10.9.0.0-24': `etcd ${SUBNETS}10.9.0.0-24: 10.9.0.0/24 is not within Network 10.244.0.0/24`,
      nonsense: `etcd ${SUBNETS}nonsense: is not the name of a subnet`,
    });
    const other = await join(B);
    await until(() => String(other.store.failure)).toContain('no subnet is free');
    await etcd.ctl('del', `${SUBNETS}10.244.0.128-26`);
    await until(() => other.subnet).toBe('10.244.0.128-26');
  });

  test('a wrong configuration is told by key and field, and the last one stays', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, '{"Network":"10.244.0.0/99"}');
    const changes: string[] = [];
    const onNetworkConfig: EtcdNodeOptions['onNetworkConfig'] = ({ backend }) => changes.push(backend.type);
    const starting = joined(A, { onNetworkConfig });
    await until(() => String(nodes[0]?.store.failure)).toContain(`etcd ${PREFIX}/config`);
    expect(String(nodes[0]?.store.failure)).toContain('Network: "10.244.0.0/99" is not an IPv4 network');
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const node = await starting;
    await etcd.ctl('put', `${PREFIX}/config`, '{"Network":"10.244.0.0/16","SubnetLen":17}');
    await until(() => String(node.store.failure)).toContain('SubnetLen 17 does not fit');
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG.replace('vxlan', 'host-gw'));
    await until(() => changes).toEqual(['host-gw']);
    expect(node.store.failure).toBeUndefined();
  });

  test('another division of the network: the node takes a subnet of it, and says what that means', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const node = await joined();
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG.replace(': 24', ': 26'));
    await until(() => node.subnet).toMatch(/-26$/);
    expect(await keys()).toEqual([SUBNETS + node.subnet]);
    expect(node.self?.problems[0]?.message).toContain('pods that run here');
  });
});
