import { afterEach, expect, test } from 'vitest';
import { parseEndpoint } from '../../../src/etcd/endpoint.ts';
import { EtcdClient } from '../../../src/etcd/etcd-client.ts';
import { KeyMirror } from '../../../src/etcd/key-mirror.ts';
import type { KeyValue } from '../../../src/etcd/key-value.ts';
import { RealEtcd } from '../../../src/etcd/real-etcd.ts';
import { createLogger } from '../../../src/log/logger.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import type { IpFamily } from '../../../src/net/ip.ts';
import { parseSubnetName, type Subnets } from '../../../src/podnet/stores/etcd/subnet-key.ts';
import { EtcdNode, PREFIX, publicationOf, SUBNETS } from './etcd-node.ts';

const NODES = 50;
/** Fifty in one process: a connection is not dead because an answer takes a few hundred milliseconds. */
const SHORT = { leaseSeconds: 5, renewMarginSeconds: 3, keepAliveMs: 5000 };

/** mulberry32: the same sequence for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const overlap = (a: Subnets, b: Subnets): boolean =>
  [...a].some(([family, subnet]) => b.get(family)?.overlaps(subnet) === true);

/** Looks at every change in etcd's own order, not only at the end. */
class Witness {
  readonly violations: string[] = [];
  readonly #held = new Map<string, { subnets: Subnets; publicIp: string }>();
  readonly #client: EtcdClient;
  readonly #abort = new AbortController();
  readonly #running: Promise<void>;
  claims = 0;

  constructor(etcd: RealEtcd) {
    this.#client = new EtcdClient({ endpoints: [parseEndpoint(etcd.endpoint)] });
    const handler = {
      put: (stored: KeyValue) => this.#put(stored),
      deleted: ({ key }: KeyValue) => void this.#held.delete(key),
      listed: () => undefined,
    };
    const mirror = new KeyMirror(this.#client, SUBNETS, handler, createLogger('witness', 'silent'));
    this.#running = mirror.run(this.#abort.signal);
  }

  #put({ key, value }: KeyValue): void {
    const subnets = parseSubnetName(key.slice(SUBNETS.length)) ?? new Map();
    const { PublicIP: publicIp } = JSON.parse(value) as { PublicIP: string };
    const before = this.#held.get(key);
    if (before !== undefined && before.publicIp !== publicIp)
      this.violations.push(`${key} went from ${before.publicIp} to ${publicIp} without having been free`);
    for (const [other, held] of this.#held) {
      if (other !== key && overlap(held.subnets, subnets))
        this.violations.push(`${key} of ${publicIp} and ${other} of ${held.publicIp}`);
    }
    if (before === undefined) this.claims += 1;
    this.#held.set(key, { subnets, publicIp });
  }

  /** As an administrator does. */
  async delete(key: string): Promise<void> {
    await this.#client.commit(`deleting ${key}`, [], [{ type: 'delete', key }]);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
    this.#client.close();
  }
}

let etcd: RealEtcd | undefined;
const running = new Map<number, EtcdNode>();
let witness: Witness | undefined;

afterEach(async () => {
  await Promise.all([...running.values()].map(async (node) => node.stop()));
  running.clear();
  await witness?.stop();
  await etcd?.remove();
});

async function churn(config: object, rounds: number, seed: number): Promise<Witness> {
  const random = seeded(seed);
  const pick = (count: number): number => Math.floor(random() * count);
  const one = await RealEtcd.start();
  etcd = one;
  const watching = new Witness(one);
  witness = watching;
  await one.ctl('put', `${PREFIX}/config`, JSON.stringify(config));
  const isDual = 'IPv6Network' in config;

  const start = async (index: number): Promise<void> => {
    if (running.has(index)) return;
    const mac = `0a:00:00:00:00:${(index + 1).toString(16).padStart(2, '0')}`;
    const publication = publicationOf(
      `192.0.2.${index + 1}`,
      mac,
      isDual ? `2001:db8::${index + 1}` : undefined,
    );
    // What subnet.env remembers, or another node's: pairs of subnets that were not drawn together, too.
    const previous = new Map([[4 as IpFamily, Cidr.parse(`10.244.${pick(4)}.${pick(4) * 64}/26`)]]);
    if (isDual) previous.set(6, Cidr.parse(`fd00:10:244:${pick(16).toString(16)}::/64`));
    const node = new EtcdNode(one, publication, { ...SHORT, previous, random });
    running.set(index, node);
    await node.store.networkConfig(AbortSignal.timeout(60_000));
    node.start();
  };
  /** Without a word; half of them have their key deleted by an administrator, the others' leases end. */
  const end = async (index: number): Promise<void> => {
    const node = running.get(index);
    running.delete(index);
    if (node === undefined) return;
    const { subnet } = node;
    await node.stop();
    if (subnet !== '' && random() < 0.5) await watching.delete(SUBNETS + subnet);
  };

  await Promise.all(Array.from({ length: NODES }, async (_, index) => start(index)));
  for (let round = 0; round < rounds; round += 1) {
    const doing: Promise<unknown>[] = Array.from({ length: 15 }, async () => {
      const index = pick(NODES);
      await (running.has(index) ? end(index) : start(index));
    });
    if (round === 0) doing.push(one.stop().then(async () => one.start()));
    // Other divisions of the network, while some still claim by the former one.
    if (round === rounds - 1) doing.push(divide(one, config, [27, 26, 27, 26, 27]));
    await Promise.allSettled(doing);
    // A good part of them is at work again, not all: the next round comes in the middle of it.
    await expect.poll(() => heldSubnets().length, { timeout: 60_000 }).toBeGreaterThan(running.size * 0.6);
  }

  await Promise.all(Array.from({ length: NODES }, async (_, index) => start(index)));
  await expect.poll(() => heldSubnets().length, { timeout: 60_000 }).toBe(NODES);
  expect(new Set(heldSubnets()).size).toBe(NODES);
  // Everybody knows everybody else.
  await expect.poll(fewestPeers, { timeout: 60_000 }).toBe(NODES - 1);
  return watching;
}

async function divide(on: RealEtcd, config: object, lengths: readonly number[]): Promise<void> {
  for (const SubnetLen of lengths)
    await on.ctl('put', `${PREFIX}/config`, JSON.stringify({ ...config, SubnetLen }));
}

const heldSubnets = (): string[] =>
  [...running.values()].map(({ subnet }) => subnet).filter((subnet) => subnet !== '');
const fewestPeers = (): number => Math.min(...[...running.values()].map(({ peers }) => peers.size));

const seed = Number(process.env['FLATNET_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const ONE = { Network: '10.244.0.0/20', SubnetLen: 26, Backend: { Type: 'vxlan' } };

test.each([
  ['IPv4', ONE, 2],
  ['two families', { ...ONE, EnableIPv6: true, IPv6Network: 'fd00:10:244::/58' }, 3],
])(
  `fifty nodes that come, go and die: never do two hold one subnet: %s (seed ${seed})`,
  async (_, config, rounds) => {
    const { violations, claims } = await churn(config, rounds, seed);
    expect(violations).toEqual([]);
    expect(claims).toBeGreaterThanOrEqual(NODES);
  },
  // Seconds on a machine that has nothing else to do.
  120_000,
);
