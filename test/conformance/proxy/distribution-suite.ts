import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import { CallSlots } from './call-slots.ts';
import type { ConformingMode } from './modes.ts';
import { clusterIp, type TestService } from './objects.ts';
import { DEFAULT_SETTINGS } from './rows/settings.ts';
import { TestCluster } from './test-cluster.ts';
import { ProxyNetwork } from './topology.ts';

const CONNECTIONS = 4000;
const PODS = ['other-pod', 'remote-pod'] as const;
const PORTS = [8080, 8081, 8082, 8083];
/** Ports of two pods: seven of these eight are endpoints, a number that no power of two hides. */
const ENDPOINTS = 7;
/**
 * What the sum of (seen - expected)^2 / expected exceeds by chance one time in 10,000, with six degrees of freedom
 * (quantile 0.9999 of the chi-square distribution). So a fair mode fails so seldom that nobody notices, and one whose
 * endpoints differ by a fifth, as a wrong probability in a chain of them makes it, fails practically always: with 571
 * expected each, a share that is 20 % off adds 23 by itself.
 */
const CRITICAL = 27.86;

const SERVICE: TestService = {
  name: 'seven',
  number: 1,
  slices: PORTS.map((port, index) => ({
    endpoints: PODS.slice(0, index * 2 + 1 === ENDPOINTS ? 1 : 2).map((pod) => ({ pod })),
    ports: [{ port }],
  })),
};

/** That connections are spread evenly, on the real kernel. */
export function describeDistribution(mode: ConformingMode): void {
  const network = new ProxyNetwork(`fnt-pd${process.pid}`);
  let backend: ProxyBackend;
  beforeAll(async () => {
    await network.start();
    backend = await mode.open(DEFAULT_SETTINGS, network.node.netns.fd);
    const cluster = new TestCluster(backend);
    await cluster.rebuild();
    await cluster.set(SERVICE);
  });
  afterAll(async () => {
    await backend.close();
    network.stop();
  });
  test.each([4, 6] as const)(
    `${CONNECTIONS} connections over ${ENDPOINTS} endpoints, IPv%d: chi-square`,
    async (family) => {
      const slots = new CallSlots();
      const counts = new Map<string, number>();
      const call = async (): Promise<void> => {
        const { reply, error } = await slots.use(async () =>
          network.outside.call(clusterIp(SERVICE.number, family), 80, { timeoutMs: 20_000 }),
        );
        const who = reply === undefined ? (error ?? 'nobody') : `${reply.host}:${reply.port}`;
        counts.set(who, (counts.get(who) ?? 0) + 1);
      };
      await Promise.all(Array.from({ length: CONNECTIONS }, call));
      expect([...counts.keys()].sort()).toEqual(
        PORTS.flatMap((port) => PODS.map((pod) => `${pod}:${port}`))
          .filter((name) => name !== 'remote-pod:8083')
          .sort(),
      );
      const expected = CONNECTIONS / ENDPOINTS;
      const chiSquare = [...counts.values()].reduce(
        (sum, count) => sum + (count - expected) ** 2 / expected,
        0,
      );
      expect(chiSquare).toBeLessThan(CRITICAL);
    },
    300_000,
  );
}
