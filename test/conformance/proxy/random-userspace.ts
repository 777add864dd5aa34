import { FakeConntrack } from '../../../src/kernel/conntrack/fake.ts';
import { FakeIptables } from '../../../src/kernel/iptables/fake.ts';
import { UserspaceBackend } from '../../../src/proxy/backends/userspace/backend.ts';
import { fakeFronts } from '../../../src/proxy/backends/userspace/fake-fronts.ts';
import { UserspaceTracer } from '../../../src/proxy/backends/userspace/tracer.ts';
import type { RandomMode } from './random-suite.ts';
import type { SlowMode } from './slow-model.ts';

export const USERSPACE_RULES: SlowMode = {
  unusedPort: 'pass',
  unallocated: 'pass',
  hairpin: 'everywhere',
  deniedWithoutEndpoints: 'reject',
  externalWithoutEndpointsFromNode: 'reject',
  refusesEverywhere: false,
  loopback: true,
  proxied: true,
  protocols: ['TCP', 'UDP'],
};

const CHANCE = { nowMs: () => 0, random: () => 0 };

export const FAKE_USERSPACE: RandomMode = {
  name: 'userspace',
  rules: USERSPACE_RULES,
  async open(settings) {
    const kernels = settings.families.map((family) => ({
      iptables: new FakeIptables(family),
      conntrack: new FakeConntrack(),
      openFronts: fakeFronts(),
    }));
    const backend = new UserspaceBackend(kernels, settings, { redirect: 'nat' }, CHANCE);
    return Promise.resolve({
      backend,
      // Which endpoints a connection gets is not in the kernel: the tracer asks the process for them.
      observe: async () => {
        const lines: string[] = [];
        for (const { iptables } of kernels) {
          for (const table of ['nat', 'filter'] as const) {
            const rules = (await iptables.save(table)).split('\n').filter((line) => /^(:|-A)/.test(line));
            lines.push(...rules.map((line) => `IPv${iptables.family} ${table} ${line}`));
          }
        }
        return lines;
      },
      tracer: async (node) => {
        const tracers = new Map<number, UserspaceTracer>();
        for (const family of backend.natFamilies) {
          tracers.set(family.family, await UserspaceTracer.read(family, node));
        }
        return {
          trace: (packet) =>
            tracers.get(packet.destination.includes(':') ? 6 : 4)?.trace(packet) ?? { kind: 'pass' },
        };
      },
      close: async () => await backend.close(),
    });
  },
};
