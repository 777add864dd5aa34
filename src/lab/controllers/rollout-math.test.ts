import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { nextNewSize, nextOldSizes, resolveAmount, toleranceOf } from './rollout-math.ts';

test.each([
  [3, 10, 'up', 3],
  ['25%', 10, 'up', 3],
  ['25%', 10, 'down', 2],
  ['100%', 7, 'down', 7],
  ['many', 7, 'up', 0],
  [undefined, 7, 'up', 0],
] as const)('%j of %d rounded %s is %d', (value, total, round, expected) => {
  expect(resolveAmount(value, total, round)).toBe(expected);
});

test('a rollout that may neither surge nor lack a pod lacks one all the same', () => {
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: '1%' } };
  expect(toleranceOf({ replicas: 3, strategy, selector: {}, template: {} })).toEqual({
    maxSurge: 0,
    maxUnavailable: 1,
  });
});

interface World {
  readonly wanted: number;
  readonly maxSurge: number;
  readonly maxUnavailable: number;
}

const worlds = fc
  .record({ wanted: fc.nat(12), maxSurge: fc.nat(4), maxUnavailable: fc.nat(4) })
  .filter(({ maxSurge, maxUnavailable }) => maxSurge + maxUnavailable > 0);

/** Steps a rollout from an old set to a new one; `ready` decides how many of the missing pods come up a step. */
function rollout(
  world: World,
  ready: () => number,
  check: (available: number, total: number) => void,
): number {
  let fresh = { name: 'new', replicas: 0, available: 0 };
  let old = { name: 'old', replicas: world.wanted, available: world.wanted };
  for (let step = 0; step < 200; step += 1) {
    if (fresh.available === world.wanted && old.replicas === 0) return step;
    fresh = { ...fresh, replicas: nextNewSize(world.wanted, world, fresh, [old]) };
    const size = nextOldSizes(world.wanted, world, fresh, [old]).get('old') ?? -1;
    old = { name: 'old', replicas: size, available: Math.min(size, old.available) };
    check(fresh.available + old.available, fresh.replicas + old.replicas);
    fresh = { ...fresh, available: Math.min(fresh.replicas, fresh.available + ready()) };
  }
  return Infinity;
}

describe('a rolling update', () => {
  test('ends, and never leaves its bounds', () => {
    fc.assert(
      fc.property(worlds, fc.infiniteStream(fc.nat(3)), (world, stream) => {
        const { wanted, maxSurge, maxUnavailable } = world;
        const ready = (): number => stream.next().value ?? 1;
        const steps = rollout(world, ready, (available, total) => {
          expect(available).toBeGreaterThanOrEqual(wanted - maxUnavailable);
          expect(total).toBeLessThanOrEqual(wanted + maxSurge);
        });
        expect(steps).toBeLessThan(Infinity);
      }),
    );
  });

  test('whose new pods never come up stops with enough of the old ones', () => {
    fc.assert(
      fc.property(
        worlds.filter(({ wanted }) => wanted > 0),
        (world) => {
          let last = { available: world.wanted, total: world.wanted };
          rollout(
            world,
            () => 0,
            (available, total) => {
              last = { available, total };
            },
          );
          expect(last.available).toBe(Math.max(0, world.wanted - world.maxUnavailable));
        },
      ),
    );
  });
});
