import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import { isOfRange, subnetRange, type SubnetFields } from '../../subnet-range.ts';
import { decide, type Decision, type SeenLease, type Situation } from './lease-decision.ts';
import { parseLeaseValue } from './lease-value.ts';
import { chooseSubnets, type SubnetRanges } from './subnet-choice.ts';
import { parseSubnetName, subnetName, type Subnets } from './subnet-key.ts';

const WRITTEN: SubnetFields = { length: undefined, min: undefined, max: undefined };
const ranges = (...networks: string[]): SubnetRanges =>
  new Map(networks.map((text) => Cidr.parse(text)).map((cidr) => [cidr.family, subnetRange(cidr, WRITTEN)]));
const named = (name: string): Subnets => parseSubnetName(name) ?? new Map();

function lease(name: string, publicIp: string, leaseId = '7', mac?: string, owner?: string): SeenLease {
  const backend = mac === undefined ? '' : `,"BackendType":"vxlan","BackendData":{"VtepMAC":"${mac}"}`;
  const value = `{"PublicIP":"${publicIp}"${backend}}`;
  return {
    stored: { key: name, value, createRevision: 1, modRevision: 1, leaseId },
    subnets: named(name),
    value: publicIp === '' ? undefined : parseLeaseValue(name, value, 'udp'),
    owner,
  };
}

const situation = (leases: readonly SeenLease[], given: Partial<Situation> = {}): Situation => ({
  ranges: ranges('10.244.0.0/16'),
  leases,
  nodeName: 'one',
  publication: {
    offers: [{ type: 'vxlan', data: new Map([[4, { VtepMAC: 'aa' }]]) }],
    publicIps: new Map([[4, Ip.parse('192.0.2.1')]]),
  },
  held: undefined,
  isFresh: false,
  previous: undefined,
  random: () => 0,
  ...given,
});

const DUAL = '10.244.7.0-24&fd00:0:0:7::-64';

/** A lease with the IPv6 subnet of DUAL, older than that one or younger. */
const flannel = (createRevision: number): SeenLease => {
  const found = lease('10.244.8.0-24&fd00:0:0:7::-64', '192.0.2.2');
  return { ...found, stored: { ...found.stored, createRevision } };
};

const double = (other: SeenLease, given: Partial<Situation> = {}): Situation =>
  situation([other, lease(DUAL, '192.0.2.1')], {
    ranges: ranges('10.244.0.0/16', 'fd00::/48'),
    held: { subnets: named(DUAL), value: '' },
    ...given,
  });

const text = (decision: Decision): string => {
  if (decision.type === 'hold') return `hold ${decision.lease.stored.key}`;
  if (decision.type === 'full') return 'full';
  const givesUp = decision.givesUp.map(({ stored }) => stored.key).join();
  return `claim ${subnetName(decision.subnets)}${givesUp === '' ? '' : ` for ${givesUp}`}`;
};

describe('what a node does about its lease', () => {
  const other = lease('10.244.1.0-24', '192.0.2.2');
  const mine = lease('10.244.7.0-24', '192.0.2.1');
  test.each<[string, string, Situation]>([
    ['the first that is free', 'claim 10.244.2.0-24', situation([other])],
    ['found by the public IP', 'hold 10.244.7.0-24', situation([other, mine])],
    [
      'a subnet is taken also by what cannot be read',
      'claim 10.244.2.0-24',
      situation([lease('10.244.1.0-24', '')]),
    ],
    [
      'a larger lease takes all that it covers',
      'claim 10.244.8.0-24',
      situation([lease('10.244.0.0-21', '192.0.2.2')]),
    ],
    [
      'a reservation before a lease',
      'hold 10.244.9.0-24',
      situation([mine, lease('10.244.9.0-24', '192.0.2.1', '0')]),
    ],
    [
      'what is held before a reservation',
      'hold 10.244.7.0-24',
      situation([mine, lease('10.244.9.0-24', '192.0.2.1', '0')], {
        held: { subnets: mine.subnets, value: '' },
      }),
    ],
    [
      'the subnet of the run before, when it is free',
      'claim 10.244.33.0-24',
      situation([other], { previous: named('10.244.33.0-24') }),
    ],
    [
      'another one when it is not',
      'claim 10.244.2.0-24',
      situation([other], { previous: named('10.244.1.0-24') }),
    ],
    [
      'a lease that no longer fits is given up',
      'claim 10.244.1.0-24 for 10.9.7.0-24',
      situation([lease('10.9.7.0-24', '192.0.2.1')]),
    ],
    [
      'a reservation that does not fit stays',
      'claim 10.244.1.0-24',
      situation([lease('10.9.7.0-24', '192.0.2.1', '0')]),
    ],
    [
      'a node with another address knows its lease by its MAC',
      'hold 10.244.7.0-24',
      situation([lease('10.244.7.0-24', '192.0.2.77', '7', 'aa')], { previous: named('10.244.7.0-24') }),
    ],
    [
      'but not one with another MAC',
      'claim 10.244.1.0-24',
      situation([lease('10.244.7.0-24', '192.0.2.77', '7', 'bb')], { previous: named('10.244.7.0-24') }),
    ],
    [
      'a lease that names another node is not taken, though it has the same address',
      'claim 10.244.1.0-24',
      situation([lease('10.244.7.0-24', '192.0.2.1', '7', 'bb', 'another')]),
    ],
    [
      'unless it is this one under its former name: same subnet, same MAC',
      'hold 10.244.7.0-24',
      situation([lease('10.244.7.0-24', '192.0.2.1', '7', 'aa', 'former')], {
        previous: named('10.244.7.0-24'),
      }),
    ],
    [
      'a second family: the subnet of the first stays',
      'claim 10.244.7.0-24&fd00:0:0:7::-64 for 10.244.7.0-24',
      situation([mine], { ranges: ranges('10.244.0.0/16', 'fd00::/48') }),
    ],
    ['a younger lease with its IPv6 subnet changes nothing', `hold ${DUAL}`, double(flannel(2))],
    [
      'an older one does: the node keeps what it alone has',
      `claim 10.244.7.0-24&fd00:0:0:1::-64 for ${DUAL}`,
      double(flannel(0)),
    ],
    [
      "a younger one of flanneld's does as long as nothing is lost, for a flanneld never gives way",
      `claim 10.244.7.0-24&fd00:0:0:1::-64 for ${DUAL}`,
      double(flannel(2), { isFresh: true }),
    ],
    [
      "one of Flatnet's, which gives way itself, does not",
      `hold ${DUAL}`,
      double({ ...flannel(2), owner: 'two' }, { isFresh: true }),
    ],
    [
      'what an administrator has reserved stays',
      `hold ${DUAL}`,
      { ...double(flannel(0)), leases: [flannel(0), lease(DUAL, '192.0.2.1', '0')] },
    ],
    [
      'nothing is free',
      'full',
      situation(
        ['64', '128', '192'].map((last) => lease(`10.3.1.${last}-26`, '192.0.2.2')),
        {
          ranges: ranges('10.3.1.0/24'),
        },
      ),
    ],
  ])('%s', (_, expected, given) => {
    expect(text(decide(given))).toBe(expected);
  });
});

test('a chosen subnet is of the range and overlaps nothing; none is chosen only when none is left', () => {
  const v4 = fc
    .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 24, max: 30 }))
    .map(([last, length]) => Cidr.parse(`10.3.1.${last}/${length}`));
  const v6 = fc
    .tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 60, max: 66 }))
    .map(([last, length]) => Cidr.parse(`fd00:0:0:${last.toString(16)}::/${length}`));
  const some = fc
    .tuple(fc.option(v4), fc.option(v6))
    .map(
      (pair): Subnets => new Map(pair.flatMap((one) => (one === null ? [] : [[one.family, one] as const]))),
    );
  const all: SubnetRanges = new Map([
    [4, subnetRange(Cidr.parse('10.3.1.0/24'), { ...WRITTEN, length: 28 })],
    [6, subnetRange(Cidr.parse('fd00::/60'), WRITTEN)],
  ]);
  const draws = fc.infiniteStream(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }));
  const families = fc.subarray<IpFamily>([4, 6], { minLength: 1 });
  fc.assert(
    fc.property(
      fc.array(some, { maxLength: 12 }),
      fc.array(some, { maxLength: 3 }),
      families,
      draws,
      (taken, wishes, wanted, stream) => {
        const mine: SubnetRanges = new Map([...all].filter(([family]) => wanted.includes(family)));
        const chosen = chooseSubnets(mine, taken, wishes, () => stream.next().value as number);
        const isFree = (family: IpFamily, subnet: Cidr): boolean =>
          !taken.some((one) => one.get(family)?.overlaps(subnet));
        const anyFree = [...mine].every(([family, { first, last, prefixLength }]) => {
          for (let ip = first; ip.value <= last.value;) {
            const subnet = new Cidr(ip, prefixLength);
            if (isFree(family, subnet)) return true;
            ip = ip.plus(subnet.size);
          }
          return false;
        });
        expect(chosen !== undefined).toBe(anyFree);
        for (const [family, subnet] of chosen ?? []) {
          expect(isOfRange(mine.get(family) as NonNullable<ReturnType<typeof mine.get>>, subnet)).toBe(true);
          expect(isFree(family, subnet)).toBe(true);
        }
      },
    ),
  );
});
