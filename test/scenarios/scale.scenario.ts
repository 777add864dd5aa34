import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Lab } from './lab-fixture.ts';

const GIB = 2 ** 30;

function availableBytes(): number {
  return Number(/MemAvailable:\s+(\d+) kB/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1]) * 1024;
}

test('30 nodes come up, with 300 pods, inside 8 GB', { timeout: 300_000 }, async () => {
  const before = availableBytes();
  const lab = await Lab.up('scale', ['--nodes', '30']);
  try {
    const labels = { app: 'many' };
    const containers = [{ name: 'main', image: 'busybox', command: ['sleep', '36000'] }];
    await lab.apply({
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'many' },
      spec: {
        replicas: 300,
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: { terminationGracePeriodSeconds: 0, containers } },
      },
    });
    const started = performance.now();
    await lab.kubectl(['rollout', 'status', 'deployment/many', '--timeout=120s'], { timeoutMs: 130_000 });
    console.log(
      `300 pods in ${((performance.now() - started) / 1000).toFixed(1)} s, ${((before - availableBytes()) / GIB).toFixed(2)} GiB`,
    );
    expect(await lab.value('deployment/many', '{.status.readyReplicas}')).toBe('300');
    const addresses = (await lab.value('pods', '{.items[*].status.podIP}')).split(' ');
    expect(new Set(addresses).size).toBe(300);
    expect(before - availableBytes()).toBeLessThan(8 * GIB);
  } finally {
    await lab.down();
  }
});
