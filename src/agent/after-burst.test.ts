import { expect, test, vi } from 'vitest';
import { AfterBurst } from './after-burst.ts';

test('memory is given back after the start and after many changes, not after few', async () => {
  let released = 0;
  const stop = new AbortController();
  const burst = new AfterBurst(() => (released += 1), 10);
  const running = burst.run(stop.signal);
  await vi.waitUntil(() => released === 1);
  for (let change = 0; change < 49; change += 1) burst.count();
  await new Promise((resolve) => setTimeout(resolve, 60));
  expect(released).toBe(1);
  burst.count();
  await vi.waitUntil(() => released === 2);
  stop.abort();
  await running;
});
