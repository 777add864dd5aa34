import { expect, test } from 'vitest';
import { indexField, FieldReader } from '../../../kernel/nft/field.ts';
import {
  balancerChain,
  balancerFor,
  drawElements,
  drawsOf,
  HALF_MASK,
  MAX_ENDPOINTS,
  parseBalancerChain,
  poolField,
  standardBalancers,
  WAYS,
} from './balancer.ts';

const numberIn = (field: string): number => new FieldReader(field).index();
const DRAWS = new Map(drawElements().map(({ key, value = '' }) => [key, numberIn(value)]));

/** With what probability each number from 0 on is the first that is drawn and taken. */
function chances(endpoints: number): number[] {
  const result = Array.from({ length: endpoints }, () => 0);
  const code = numberIn(poolField(endpoints, 0));
  let left = 1;
  for (const draw of drawsOf(balancerFor(endpoints, 0))) {
    if (draw.kind === 'larger') continue;
    const results = draw.kind === 'table' ? draw.results : draw.modulus;
    let hit = 0;
    for (let drawn = 0; drawn < results; drawn += 1) {
      const number =
        draw.kind === 'below'
          ? drawn
          : DRAWS.get(indexField(draw.half ? (code & HALF_MASK) >>> 0 : code) + indexField(drawn));
      if (number === undefined || number >= endpoints) continue;
      result[number] = (result[number] ?? 0) + left / results;
      hit += 1 / results;
    }
    left *= 1 - hit;
  }
  expect(left).toBeCloseTo(0, 10);
  return result;
}

test('up to 32 endpoints get the same part of connections each, to a tenth of a percent', () => {
  for (let endpoints = 1; endpoints <= 32; endpoints += 1) {
    const parts = chances(endpoints).map((chance) => chance * endpoints);
    expect(Math.min(...parts)).toBeGreaterThan(0.999);
    // The first also gets what six draws in a row found no endpoint for.
    expect(Math.max(...parts)).toBeLessThan(1.007);
  }
});

test.each([33, 40, 48, 64, 65, 100, 128, 129, 1000, 1025])(
  'of %i endpoints each gets its part, to 1.6 %',
  (endpoints) => {
    const parts = chances(endpoints).map((chance) => chance * endpoints);
    expect(Math.min(...parts)).toBeGreaterThan(0.984);
    expect(Math.max(...parts)).toBeLessThan(1.016);
  },
);

test('the largest pool has a chain of its size', () => {
  expect(balancerFor(MAX_ENDPOINTS, 0)).toEqual({ size: MAX_ENDPOINTS, affinitySeconds: 0 });
  expect(poolField(MAX_ENDPOINTS, 0)).not.toBe(poolField(MAX_ENDPOINTS / 2, 0));
});

test('names of chains are read as they are written, and no others', () => {
  for (const way of WAYS) {
    const rare = [
      { size: 4096, affinitySeconds: 77 },
      { size: 0, affinitySeconds: 86_400 },
    ];
    for (const balancer of [...standardBalancers(way), ...rare]) {
      expect(parseBalancerChain(balancerChain(way, balancer))).toEqual({ way, balancer });
    }
  }
  const others = ['services', 'lb-', 'lb-x', 'lbs', 'sticky-balance', 'nodeports'];
  expect(others.map(parseBalancerChain)).toEqual(others.map(() => undefined));
});
