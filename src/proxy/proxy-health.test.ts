import { expect, test } from 'vitest';
import { HealthState } from './proxy-health.ts';

test('a proxy is live until something has waited for longer than it may, and again when it is done', () => {
  let now = 1_000_000;
  const state = new HealthState(() => now);
  state.timeoutMs = 60_000;
  state.queued();
  now += 120_000;
  // Starting may take as long as it takes.
  expect(state.get()).toMatchObject({ healthy: false, live: true });
  state.synced(false);
  now += 120_000;
  expect(state.get()).toMatchObject({ healthy: true, live: true, lastSyncMs: 1_120_000 });
  state.queued();
  now += 59_999;
  state.queued();
  expect(state.get()).toMatchObject({ live: true, pendingSinceMs: 1_240_000 });
  now += 1;
  expect(state.get().live).toBe(false);
  state.synced(true);
  expect(state.get()).toMatchObject({ live: true, pendingSinceMs: now });
});

test('a refusal is told with its reason, and is not live when nothing mends it in time', () => {
  let now = 0;
  const state = new HealthState(() => now);
  state.synced(false);
  state.failed('no such table');
  expect(state.get()).toMatchObject({ healthy: false, reason: 'no such table', live: true });
  now += 60_000;
  expect(state.get().live).toBe(false);
  state.synced(false);
  expect(state.get()).toMatchObject({ healthy: true, live: true });
});
