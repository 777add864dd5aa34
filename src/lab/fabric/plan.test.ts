import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planFabric } from './plan.ts';

test('every address is given once, lies in its subnet and is no gateway', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 250 }),
      fc.integer({ min: 2, max: 40 }),
      fc.boolean(),
      (nodes, subnets, ipv6) => {
        const plan = planFabric({ nodes, subnets, ipv6, mtu: 1500 });
        expect(plan.attachments).toHaveLength(nodes + 1);
        const all = plan.attachments.flatMap(({ addresses }) => addresses);
        const gateways = plan.subnets.flatMap((subnet) => subnet.gateways);
        const texts = [...all, ...gateways].map(({ ip }) => ip.toString());
        expect(new Set(texts).size).toBe(texts.length);
        for (const { ip, subnet } of all) expect(subnet.contains(ip)).toBe(true);
        for (const { bridge, gateways: own } of plan.attachments) {
          const subnet = plan.subnets.find((candidate) => candidate.bridge === bridge);
          expect(own.map(String)).toEqual(subnet?.gateways.map(({ ip }) => ip.toString()));
        }
      },
    ),
    { numRuns: 20 },
  );
});

test('nodes take turns on the subnets', () => {
  const plan = planFabric({ nodes: 3, subnets: 2, ipv6: true, mtu: 1500 });
  const text = plan.attachments.map(
    ({ name, addresses }) => `${name} ${addresses.map(({ ip }) => ip.toString()).join(' ')}`,
  );
  expect(text).toEqual([
    'node-1 172.30.0.10 fd00:172:30::a',
    'node-2 172.30.1.10 fd00:172:30:1::a',
    'node-3 172.30.0.11 fd00:172:30::b',
    'outside 172.30.255.2 fd00:172:30:ff::2',
  ]);
});
