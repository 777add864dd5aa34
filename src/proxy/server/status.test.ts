import { describe, expect, test } from 'vitest';
import { answerHealth } from './status.ts';

const NOW = Date.UTC(2026, 10, 21, 9, 8, 7, 60);
const EARLIER = Date.UTC(2026, 10, 21, 9, 0, 0, 0);
const WELL = { healthy: true, live: true, nodeEligible: true, lastSyncMs: EARLIER };

describe("kube-proxy's /healthz and /livez", () => {
  test('well: now is the last look at the rules, whenever that was', () => {
    const time = '2026-11-21 09:08:07.06 +0000 UTC';
    expect(answerHealth('healthz', WELL, NOW)).toEqual({
      code: 200,
      body: `{"lastUpdated": "${time}","currentTime": "${time}", "nodeEligible": true}`,
    });
    expect(answerHealth('livez', WELL, NOW)).toEqual({
      code: 200,
      body: `{"lastUpdated": "${time}","currentTime": "${time}"}`,
    });
  });

  test('something waits for too long: both say so, and since when', () => {
    const stuck = { ...WELL, healthy: false, live: false };
    for (const endpoint of ['healthz', 'livez'] as const) {
      const { code, body } = answerHealth(endpoint, stuck, NOW);
      expect([code, (JSON.parse(body) as { lastUpdated: string }).lastUpdated]).toEqual([
        503,
        '2026-11-21 09:00:00 +0000 UTC',
      ]);
    }
  });

  test('a node that is about to go: load balancers leave it, the kubelet does not restart the proxy', () => {
    const leaving = { ...WELL, nodeEligible: false };
    expect(answerHealth('healthz', leaving, NOW)).toMatchObject({
      code: 503,
      body: expect.stringContaining('"nodeEligible": false') as unknown,
    });
    expect(answerHealth('livez', leaving, NOW).code).toBe(200);
  });

  test('starting is well, and what was never is told as Go tells it', () => {
    const starting = { healthy: false, live: true, nodeEligible: true };
    expect(answerHealth('healthz', starting, NOW).code).toBe(200);
    expect(answerHealth('livez', { ...starting, live: false }, NOW).body).toContain(
      '"0001-01-01 00:00:00 +0000 UTC"',
    );
  });
});
