import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { AddressRangeSet } from './address-range-set.ts';
import { AddressRange } from './address-range.ts';

interface Wish {
  readonly subnet: number;
  readonly start: number | undefined;
  readonly end: number | undefined;
  readonly gateway: number;
}

const at = (subnet: number, host: number): Ip => Ip.parse(`10.0.${subnet}.${host}`);

const wish = (subnet: number): fc.Arbitrary<Wish> =>
  fc
    .record({
      subnet: fc.constant(subnet),
      bounds: fc.option(fc.tuple(fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 15 })), {
        nil: undefined,
      }),
      gateway: fc.integer({ min: 1, max: 14 }),
    })
    .map(({ bounds, ...rest }) => ({
      ...rest,
      start: bounds === undefined ? undefined : Math.min(...bounds),
      end: bounds === undefined ? undefined : Math.max(...bounds),
    }));

const rangeOf = ({ subnet, start, end, gateway }: Wish): AddressRange =>
  new AddressRange(Cidr.parse(`10.0.${subnet}.0/28`), {
    rangeStart: start === undefined ? undefined : at(subnet, start),
    rangeEnd: end === undefined ? undefined : at(subnet, end),
    gateway: at(subnet, gateway),
  });

/** Written down one by one. */
const allOf = ({ subnet, start = 1, end = 14, gateway }: Wish): string[] =>
  Array.from({ length: 16 }, (_, host) => host)
    .filter((host) => host >= start && host <= end && host !== gateway)
    .map((host) => at(subnet, host).toString());

test('a round visits every address once, in order, and then begins again', () => {
  fc.assert(
    fc.property(fc.tuple(wish(0), wish(1), wish(2)), (wishes) => {
      const set = new AddressRangeSet(wishes.map(rangeOf));
      const expected = wishes.flatMap(allOf);
      expect(set.capacity).toBe(BigInt(expected.length));
      const visited: string[] = [];
      let last: Ip | undefined;
      for (let step = 0; step < expected.length * 2; step += 1) {
        last = set.after(last)?.ip;
        visited.push(String(last));
      }
      expect(visited).toEqual([...expected, ...expected]);
      expect(set.after(undefined) === undefined).toBe(expected.length === 0);
    }),
  );
});

test('an address of no range begins the round, and what overlaps is refused', () => {
  const set = new AddressRangeSet([new AddressRange(Cidr.parse('10.0.0.0/28'))]);
  expect(set.after(Ip.parse('10.9.9.9'))?.ip.toString()).toBe('10.0.0.2');
  const wide = new AddressRange(Cidr.parse('10.0.0.0/24'));
  expect(() => new AddressRangeSet([...set.ranges, wide])).toThrow('overlap');
  expect(() => new AddressRangeSet([])).toThrow('empty');
});
