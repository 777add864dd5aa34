import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { parseEndpoint } from '../../../etcd/endpoint.ts';
import { EtcdClient } from '../../../etcd/etcd-client.ts';
import { RealEtcd } from '../../../etcd/real-etcd.ts';
import { createLogger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { subnetRange } from '../../subnet-range.ts';
import type { Publication } from '../lease-store.ts';
import { OwnLease, type StoreView } from './own-lease.ts';
import { readSeenLease } from './peer-lease.ts';
import { ownPrefix, subnetName, type Subnets } from './subnet-key.ts';

const PREFIX = '/coreos.com/network';
const FIELDS = { length: undefined, min: undefined, max: undefined };
const RANGES = new Map(
  ['10.244.0.0/16', 'fd00::/48']
    .map((text) => Cidr.parse(text))
    .map((network) => [network.family, subnetRange(network, FIELDS)] as const),
);

let etcd: RealEtcd;
let client: EtcdClient;

beforeAll(async () => {
  etcd = await RealEtcd.start();
  client = new EtcdClient({ endpoints: [parseEndpoint(etcd.endpoint)] });
});
beforeEach(async () => {
  await etcd.ctl('del', PREFIX, '--prefix');
  await etcd.ctl('put', `${PREFIX}/config`, '{}');
});
afterAll(async () => {
  client?.close();
  await etcd?.remove();
});

async function look(): Promise<StoreView> {
  const { keys } = await client.list(`${PREFIX}/`);
  const folder = `${PREFIX}/subnets/`;
  return {
    config: {
      key: `${PREFIX}/config`,
      modRevision: keys.find(({ key }) => key.endsWith('/config'))?.modRevision ?? 0,
    },
    ranges: RANGES,
    own: new Map(
      keys.filter(({ key }) => key.startsWith(ownPrefix(PREFIX))).map((found) => [found.key, found]),
    ),
    leases: keys
      .filter(({ key }) => key.startsWith(folder))
      .flatMap((stored) => readSeenLease(folder, stored, undefined, 'udp').lease ?? []),
  };
}

/** A node that wants what it had before. */
function node(number: number, ...before: string[]): { lease: OwnLease; publication: Publication } {
  const previous: Subnets = new Map(
    before.map((text) => Cidr.parse(text)).map((cidr) => [cidr.family, cidr]),
  );
  const options = {
    client,
    prefix: PREFIX,
    logger: createLogger('own-lease', 'silent'),
    nodeName: `node-${number}`,
  };
  const lease = new OwnLease({
    ...options,
    leaseSeconds: 60,
    renewMarginSeconds: 30,
    previous,
    random: () => 0.5,
  });
  const publicIps = new Map<IpFamily, Ip>([
    [4, Ip.parse(`192.0.2.${number}`)],
    [6, Ip.parse(`2001:db8::${number}`)],
  ]);
  return { lease, publication: { offers: [{ type: 'host-gw', data: new Map() }], publicIps } };
}

const never = new AbortController().signal;

/** Acquires, while `meanwhile` happens between the node's first look and what it does upon it. */
async function acquireDuring(
  { lease, publication }: ReturnType<typeof node>,
  meanwhile: () => Promise<unknown>,
): Promise<{ name: string; looks: number }> {
  let looks = 0;
  const view = async (): Promise<StoreView> => {
    const seen = await look();
    looks += 1;
    if (looks === 1) await meanwhile();
    return seen;
  };
  const { subnets } = await lease.acquire(publication, view, never);
  return { name: subnetName(subnets), looks };
}

const WISH = ['10.244.7.0/24', 'fd00:0:0:7::/64'];

test('nothing in between: the first look is enough', async () => {
  expect(await acquireDuring(node(1, ...WISH), async () => etcd.ctl('put', '/x', '1'))).toEqual({
    name: '10.244.7.0-24&fd00:0:0:7::-64',
    looks: 1,
  });
});

test('the configuration changes in between: it is looked at again', async () => {
  const { looks } = await acquireDuring(node(1, ...WISH), async () =>
    etcd.ctl('put', `${PREFIX}/config`, '{} '),
  );
  expect(looks).toBe(2);
});

test('a flannel takes the IPv4 subnet in between, without the other family', async () => {
  const key = `${PREFIX}/subnets/10.244.7.0-24`;
  const { name, looks } = await acquireDuring(node(1, ...WISH), async () =>
    etcd.ctl('put', key, '{"PublicIP":"192.0.2.9"}'),
  );
  expect(looks).toBe(2);
  expect(name).toMatch(/&fd00:0:0:7::-64$/);
  expect(name).not.toContain('10.244.7.0');
});

test('another node takes the IPv6 subnet in between, beside another IPv4 one', async () => {
  const other = node(2, '10.244.8.0/24', 'fd00:0:0:7::/64');
  const { name, looks } = await acquireDuring(node(1, ...WISH), async () =>
    other.lease.acquire(other.publication, look, never),
  );
  expect(subnetName(other.lease.held?.subnets ?? new Map())).toBe('10.244.8.0-24&fd00:0:0:7::-64');
  expect(looks).toBe(2);
  expect(name).toMatch(/^10\.244\.7\.0-24&/);
  expect(name).not.toContain('fd00:0:0:7::');
});

test('a flanneld takes the IPv6 subnet in between, which no condition sees: at the next look this node gives way', async () => {
  const one = node(1, ...WISH);
  const key = `${PREFIX}/subnets/10.244.8.0-24&fd00:0:0:7::-64`;
  const claim = async (): Promise<string> => etcd.ctl('put', key, '{"PublicIP":"192.0.2.9"}');
  expect(await acquireDuring(one, claim)).toEqual({ name: '10.244.7.0-24&fd00:0:0:7::-64', looks: 1 });
  const { name } = await acquireDuring(one, async () => undefined);
  expect(name).toMatch(/^10\.244\.7\.0-24&/);
  expect((await look()).leases.map(({ subnets }) => subnetName(subnets)).toSorted()).toEqual(
    [name, '10.244.8.0-24&fd00:0:0:7::-64'].toSorted(),
  );
  expect(name).not.toContain('fd00:0:0:7::');
});

test("somebody rewrites the node's own lease in between", async () => {
  const key = `${PREFIX}/subnets/10.244.7.0-24&fd00:0:0:7::-64`;
  await etcd.ctl('put', key, '{"PublicIP":"192.0.2.1"}');
  const theirs = '{"PublicIP":"192.0.2.9"}';
  const { name, looks } = await acquireDuring(node(1, ...WISH), async () => etcd.ctl('put', key, theirs));
  expect(looks).toBe(2);
  expect(name).not.toContain('10.244.7.0');
  expect(await etcd.ctl('get', key, '--print-value-only')).toBe(theirs);
});

test('a lease of one family becomes one of two, with the same IPv4 subnet', async () => {
  await etcd.ctl('lease', 'grant', '60');
  const [, lease = ''] = /^([\da-f]{16})$/m.exec(await etcd.ctl('lease', 'list')) ?? [];
  await etcd.ctl('put', `${PREFIX}/subnets/10.244.7.0-24`, '{"PublicIP":"192.0.2.1"}', `--lease=${lease}`);
  const { name } = await acquireDuring(node(1), async () => undefined);
  expect(name).toBe('10.244.7.0-24&fd00:0:0:7::-64');
  expect((await look()).leases.map(({ subnets }) => subnetName(subnets))).toEqual([name]);
});
