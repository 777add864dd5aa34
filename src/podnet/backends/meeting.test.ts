import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { IpFamily } from '../../net/ip.ts';
import type { NodeLease, Offer } from '../node-lease.ts';
import type { Backend } from './backend.ts';
import { meet, meetings } from './meeting.ts';

/** A backend that is known by its type and, as VXLAN, by a number. */
function backendOf(type: Backend['type'], number: number): Backend {
  return {
    type,
    name: `${type} ${number}`,
    tunnelPorts: [],
    overhead: () => 0,
    data: () => ({ number }),
    accepts: (offer) => (offer.data.get(4) as { number?: number }).number === number,
    planNode: () => [],
    planPeer: () => [],
  };
}

const offerOf = (backend: Backend): Offer => ({
  type: backend.type,
  data: new Map<IpFamily, unknown>([[4, { number: Number(backend.name.split(' ')[1]) }]]),
});

function leaseOf(node: string, backends: readonly Backend[]): NodeLease {
  const [first, ...more] = backends.map(offerOf);
  if (first === undefined) throw new Error('a node has at least one backend');
  return { node, offers: [first, ...more], families: new Map() };
}

const backends = fc
  .uniqueArray(
    fc.tuple(
      fc.constantFrom<Backend['type']>('vxlan', 'host-gw', 'wireguard'),
      fc.integer({ min: 1, max: 3 }),
    ),
    { selector: String, minLength: 1, maxLength: 4 },
  )
  .map((list) => list.map(([type, number]) => backendOf(type, number)));

const nameOf = (own: readonly Backend[], peer: NodeLease): string => {
  try {
    return meet(own, peer).backend.name;
  } catch {
    return 'none';
  }
};

test('two nodes meet in the same backend, whoever asks, and in one that both have', () => {
  fc.assert(
    fc.property(backends, backends, (a, b) => {
      const fromA = nameOf(a, leaseOf('b', b));
      expect(nameOf(b, leaseOf('a', a))).toBe(fromA);
      const names = b.map(({ name }) => name);
      const common = a.filter(({ name }) => names.includes(name));
      const possible = common.length === 0 ? ['none'] : common.map(({ name }) => name);
      expect(possible).toContain(fromA);
    }),
    { numRuns: 300 },
  );
});

test('the one that both want most wins; one that is held back is taken only where there is no other', () => {
  const [one, two] = [backendOf('vxlan', 1), backendOf('vxlan', 2)];
  expect(nameOf([two, one], leaseOf('b', [two, one]))).toBe('vxlan 2');
  expect(nameOf([two, one], leaseOf('b', [one]))).toBe('vxlan 1');
  const held = { backends: [two, one], held: two };
  const names = (peer: readonly Backend[]) =>
    meetings(held, leaseOf('b', peer)).map(({ backend }) => backend.name);
  expect(names([two, one])).toEqual(['vxlan 1', 'vxlan 2']);
  expect(names([two])).toEqual(['vxlan 2']);
});
