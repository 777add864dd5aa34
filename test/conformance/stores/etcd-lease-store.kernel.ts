import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import { RealEtcd } from '../../../src/etcd/real-etcd.ts';
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

beforeEach(async () => {
  etcd = await RealEtcd.start();
});
afterEach(async () => {
  await Promise.all(nodes.map(async (node) => node.stop()));
  nodes = [];
  await etcd.remove();
});

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
    await b.stop();
    await etcd.ctl('del', SUBNETS + b.subnet);
    await until(() => a.peers.size).toBe(0);
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
});

describe('time', () => {
  const short = { leaseSeconds: 4, renewMarginSeconds: 3.5 };

  test('a lease is renewed as long as its node lives, and ends after it', async () => {
    await etcd.ctl('put', `${PREFIX}/config`, CONFIG);
    const [a, b] = await Promise.all([joined(A, short), joined(B, short)]);
    const { subnet } = b;
    await b.stop();
    await until(() => a.peers.size).toBe(0);
    expect(await keys()).toEqual([SUBNETS + a.subnet]);
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
    expect(await keys()).toEqual(expect.arrayContaining(subnets.map((subnet) => SUBNETS + subnet)));
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
