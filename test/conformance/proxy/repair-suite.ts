import { Registry } from 'prom-client';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { ENDPOINT_SLICES, SERVICES } from '../../../src/cluster/resource-type.ts';
import { run } from '../../../src/kernel/exec/run.ts';
import { createLogger } from '../../../src/log/logger.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { ProxyMode } from '../../../src/proxy/backend.ts';
import { parseKubeProxyConfig } from '../../../src/proxy/config/parse.ts';
import { FakeApi } from '../../../src/proxy/fake-api.ts';
import { ServiceProxy } from '../../../src/proxy/proxy.ts';
import { INSIDE_UML } from '../../uml/uml.ts';
import { clusterIp, serviceObject, sliceObjects, type TestService } from './objects.ts';
import { ADDRESSES, NODE_NAME, ProxyNetwork } from './topology.ts';

/** What another program does on the node, a command a line. */
export interface Harm {
  readonly name: string;
  readonly commands: readonly string[];
}

export interface RepairedMode {
  readonly name: string;
  readonly mode: ProxyMode;
  /** Before the proxy starts. */
  readonly before?: readonly string[];
  readonly harms: readonly Harm[];
}

/** What is promised; user-mode-linux, beside other work, has a fraction of a processor. */
const REPAIR_MS = INSIDE_UML ? 8000 : 5000;

const SERVICE: TestService = {
  name: 'web',
  number: 1,
  type: 'NodePort',
  endpoints: ['pod', 'other-pod'],
};

const HEALTH_CHECK_PORT = 32_000;

/** Of a load balancer that asks nodes whether they have endpoints. */
const checkedService = (endpoints: TestService['endpoints'] = []): TestService => ({
  name: 'checked',
  number: 2,
  type: 'LoadBalancer',
  ingress: 'VIP',
  externalLocal: true,
  endpoints,
  spoilService: ({ spec }) => {
    if (spec !== undefined) spec.healthCheckNodePort = HEALTH_CHECK_PORT;
  },
});

export function iptablesHarms(variant: 'legacy' | 'nft'): Harm[] {
  const [iptables, ip6tables] = [`iptables-${variant}`, `ip6tables-${variant}`];
  return [
    { name: 'a table is flushed', commands: [`${iptables} -t nat -F`] },
    {
      name: 'a table is flushed and all its chains are gone',
      commands: [`${ip6tables} -t nat -F`, `${ip6tables} -t nat -X`],
    },
    { name: 'one chain is flushed', commands: [`${iptables} -t nat -F KUBE-SERVICES`] },
    { name: 'a rule is put before ours', commands: [`${iptables} -t nat -I KUBE-SERVICES -j RETURN`] },
    { name: 'the jump to our rules is deleted', commands: [`${iptables} -t nat -D PREROUTING 1`] },
  ];
}

/** Whatever other programs do to the rules, within five seconds Services work again, and the metric has counted it. */
export function describeRepairs({ name, mode, before = [], harms }: RepairedMode): void {
  const network = new ProxyNetwork(`fnt-pq${process.pid}`);
  const registry = new Registry();
  const api = new FakeApi([SERVICES, ENDPOINT_SLICES]);
  const control = new AbortController();
  let ended: Promise<void>;

  const command = async (line: string): Promise<void> => {
    const [program = '', ...words] = line.split(' ');
    await run(program, words, { netns: network.node.netns.fd });
  };

  const counted = async (): Promise<number> => {
    const metric = registry.getSingleMetric('flatnet_proxy_foreign_changes_total');
    const { values = [] } = (await metric?.get()) ?? {};
    return values.reduce((sum, { value }) => sum + value, 0);
  };

  /** Who answers at all addresses, in both families. */
  const answers = async (): Promise<string[]> =>
    await Promise.all(
      ([4, 6] as const).flatMap((family) => {
        const targets = [
          [clusterIp(SERVICE.number, family), 80],
          [ADDRESSES[family].node, 30_001],
        ] as const;
        return targets.map(async ([host, port]) => {
          const { reply, error } = await network.outside.call(host, port, {
            timeoutMs: INSIDE_UML ? 4000 : 900,
          });
          return reply === undefined ? (error ?? 'nobody') : 'answered';
        });
      }),
    );

  /** What a load balancer in front of the nodes hears, at both addresses. */
  const checks = async (): Promise<string[]> =>
    await Promise.all(
      ([4, 6] as const).map(async (family) => {
        const host = family === 4 ? ADDRESSES[4].node : `[${ADDRESSES[6].node}]`;
        const words = ['-s', '-m', '10', '-w', ' %{http_code}', `http://${host}:${HEALTH_CHECK_PORT}/`];
        const { stdout } = await run('curl', words, { netns: network.outside.netns.fd });
        return stdout.replaceAll(/\s+/g, ' ').replace(/^.*"localEndpoints": (\d+).*\} /, '$1 here: ');
      }),
    );

  const set = (service: TestService): void => {
    api.set(SERVICES, serviceObject(service));
    for (const slice of sliceObjects(service)) api.set(ENDPOINT_SLICES, slice);
  };

  beforeAll(async () => {
    await network.start();
    for (const line of before) await command(line);
    set(SERVICE);
    set(checkedService(['pod', 'remote-pod']));
    const head = { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', kind: 'KubeProxyConfiguration' };
    const file = { ...head, mode, clusterCIDR: '10.244.0.0/16,fd00:10:244::/56' };
    const proxy = new ServiceProxy({
      client: api.client,
      nodeName: NODE_NAME,
      config: parseKubeProxyConfig(JSON.stringify(file), 'test'),
      node: {
        ips: [Ip.parse(ADDRESSES[4].node), Ip.parse(ADDRESSES[6].node)],
        podCidrs: [],
        zone: undefined,
        eligible: true,
      },
      serviceCidrs: [],
      registry,
      logger: createLogger('proxy', process.env['FNT_LOG'] ?? 'silent'),
      netns: network.node.netns.fd,
    });
    ended = proxy.run(control.signal);
    await Promise.race([proxy.synced(), ended]);
  });

  afterAll(async () => {
    control.abort();
    await ended;
    network.stop();
  });

  describe(`repairs of ${name}`, () => {
    test.for(harms.map((harm) => [harm.name, harm] as const))('%s', async ([, harm]) => {
      const good = ['answered', 'answered', 'answered', 'answered'];
      await vi.waitFor(async () => expect(await answers()).toEqual(good), { timeout: REPAIR_MS });
      const repaired = await counted();
      for (const line of harm.commands) await command(line);
      await vi.waitFor(
        async () => {
          expect(await counted()).toBeGreaterThan(repaired);
          expect(await answers()).toEqual(good);
        },
        { timeout: REPAIR_MS, interval: 50 },
      );
    });
  });

  // Last: what is told is applied within a second, and meanwhile an update would mend what another did, uncounted.
  test(`${name}: a load balancer hears whether the node has endpoints`, async () => {
    await vi.waitFor(async () => expect(await checks()).toEqual(['1 here: 200', '1 here: 200']), {
      timeout: REPAIR_MS,
    });
    set(checkedService(['remote-pod']));
    await vi.waitFor(async () => expect(await checks()).toEqual(['0 here: 503', '0 here: 503']), {
      timeout: REPAIR_MS,
    });
  });
}
