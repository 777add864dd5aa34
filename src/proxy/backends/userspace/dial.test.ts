import { expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { Balancer } from './balancer.ts';
import { dial, type Attempt } from './dial.ts';
import { DIAL_TIMEOUTS_MS } from './settings.ts';

const CHANCE = { nowMs: () => 0, random: () => 0 };

function balancerOf(count: number): Balancer {
  const endpoints = Array.from({ length: count }, (_, i) => ({
    address: `10.0.0.${i}`,
    port: 80,
    local: true,
  }));
  return new Balancer(servicePort({ endpoints }), CHANCE);
}

type Kind = Attempt<string>['kind'];

/** What becomes of the attempts: `kinds` by the last part of the endpoint's address. */
async function outcome(
  kinds: readonly Kind[],
): Promise<{ readonly to: string | undefined; readonly tried: string[] }> {
  const tried: string[] = [];
  const result = await dial(
    { balancer: balancerOf(kinds.length), client: 'a', set: 'all' },
    DIAL_TIMEOUTS_MS,
    ({ address }, timeoutMs) => {
      tried.push(`${address} ${timeoutMs}`);
      const kind = kinds[Number(address.split('.')[3])] ?? 'refused';
      if (kind === 'connected') return Promise.resolve({ kind, connection: address });
      return Promise.resolve(kind === 'silent' ? { kind } : { kind, error: new Error(kind) });
    },
  );
  return { to: result.connection, tried };
}

test.each<[string, Kind[], string | undefined, string[]]>([
  ['the first takes it', ['connected', 'connected'], '10.0.0.0', ['10.0.0.0 250']],
  [
    'those that refuse cost no time',
    ['refused', 'refused', 'refused', 'refused', 'refused', 'connected'],
    '10.0.0.5',
    [0, 1, 2, 3, 4, 5].map((i) => `10.0.0.${i} 250`),
  ],
  [
    'those that are silent cost longer and longer',
    ['silent', 'silent', 'connected'],
    '10.0.0.2',
    ['10.0.0.0 250', '10.0.0.1 500', '10.0.0.2 1000'],
  ],
  [
    'who is silent is asked again when all have been',
    ['silent', 'refused'],
    undefined,
    [
      '10.0.0.0 250',
      '10.0.0.1 500',
      '10.0.0.0 500',
      '10.0.0.1 1000',
      '10.0.0.0 1000',
      '10.0.0.1 2000',
      '10.0.0.0 2000',
    ],
  ],
  ['all refuse', ['refused', 'refused'], undefined, ['10.0.0.0 250', '10.0.0.1 250']],
  [
    'four of them are silent',
    Array<Kind>(9).fill('silent'),
    undefined,
    [250, 500, 1000, 2000].map((ms, i) => `10.0.0.${i} ${ms}`),
  ],
  ['without descriptors nobody else is asked', ['exhausted', 'connected'], undefined, ['10.0.0.0 250']],
  ['without endpoints nobody is asked', [], undefined, []],
])('%s', async (_, kinds, to, tried) => {
  expect(await outcome(kinds)).toEqual({ to, tried });
});
