import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { EndpointGroup } from './service-endpoints.ts';
import { planSlices } from './slice-plan.ts';

const endpoint = (number: number, ready: boolean): Endpoint => ({
  addresses: [`10.244.${number >> 8}.${number & 255}`],
  conditions: { ready, serving: ready, terminating: false },
  targetRef: { kind: 'Pod', name: `pod-${number}`, uid: `uid-${number}` },
});

const group = (port: number, endpoints: Endpoint[]): EndpointGroup => ({
  addressType: 'IPv4',
  ports: [{ name: '', port, protocol: 'TCP' }],
  endpoints,
});

const make = ({ addressType, ports }: EndpointGroup): EndpointSlice => ({
  metadata: { labels: { 'kubernetes.io/service-name': 'web' } },
  addressType,
  ports: [...ports],
  endpoints: [],
});

let made = 0;

/** What the server holds after the writes of the plan. */
function carryOut(
  slices: readonly EndpointSlice[],
  groups: readonly EndpointGroup[],
): {
  slices: EndpointSlice[];
  writes: number;
} {
  const { add, change, remove } = planSlices(groups, slices, make);
  const replaced = new Map(change.map(({ from, to }) => [from, to]));
  const kept = slices.filter((slice) => !remove.includes(slice)).map((slice) => replaced.get(slice) ?? slice);
  const added = add.map((slice) => {
    made += 1;
    return { ...slice, metadata: { ...slice.metadata, name: `slice-${made}` } };
  });
  return { slices: [...kept, ...added], writes: add.length + change.length + remove.length };
}

const content = (slices: readonly EndpointSlice[]): string[] =>
  slices
    .flatMap(({ ports, endpoints }) => endpoints.map((one) => JSON.stringify([ports?.[0]?.port, one])))
    .sort();

const members = fc.uniqueArray(fc.tuple(fc.nat(400), fc.boolean(), fc.constantFrom(80, 81)), {
  selector: ([number]) => number,
  maxLength: 320,
  size: 'max',
});

test('whatever the history, the slices hold the endpoints, none more than a hundred, and rest then', () => {
  fc.assert(
    fc.property(fc.array(members, { minLength: 1, maxLength: 4 }), (history) => {
      let slices: EndpointSlice[] = [];
      for (const state of history) {
        const groups = [80, 81]
          .map((port) =>
            group(
              port,
              state.filter((one) => one[2] === port).map(([number, ready]) => endpoint(number, ready)),
            ),
          )
          .filter(({ endpoints }) => endpoints.length > 0);
        if (groups.length === 0) groups.push({ addressType: 'IPv4', ports: [], endpoints: [] });
        slices = carryOut(slices, groups).slices;
        expect(content(slices)).toEqual(
          content(groups.map((one) => ({ ...make(one), endpoints: one.endpoints }))),
        );
        for (const slice of slices) expect(slice.endpoints.length).toBeLessThanOrEqual(100);
        expect(slices.some(({ endpoints }) => endpoints.length === 0)).toBe(state.length === 0);
        expect(carryOut(slices, groups).writes).toBe(0);
      }
    }),
    { numRuns: 50 },
  );
});

test('one endpoint that comes, changes or goes costs one write, however many there are', () => {
  const many = Array.from({ length: 1050 }, (_, number) => endpoint(number, true));
  const { slices } = carryOut([], [group(80, many)]);
  expect(slices).toHaveLength(11);
  expect(carryOut(slices, [group(80, [...many, endpoint(2000, true)])]).writes).toBe(1);
  expect(carryOut(slices, [group(80, many.slice(1))]).writes).toBe(1);
  expect(carryOut(slices, [group(80, [endpoint(0, false), ...many.slice(1)])]).writes).toBe(1);
});
