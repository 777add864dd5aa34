import { FakeConntrack } from '../../../src/kernel/conntrack/fake.ts';
import { FakeIptables } from '../../../src/kernel/iptables/fake.ts';
import type { IptablesKernel } from '../../../src/kernel/iptables/objects.ts';
import { UserspaceBackend } from '../../../src/proxy/backends/userspace/backend.ts';
import { fakeFronts } from '../../../src/proxy/backends/userspace/fake-fronts.ts';
import { UserspaceTracer } from '../../../src/proxy/backends/userspace/tracer.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';
import { savedLines, type Saved } from './random-iptables.ts';
import type { RandomMode, Subject } from './random-suite.ts';
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
    const kernels = settings.families.map((family) => new FakeIptables(family));
    return Promise.resolve(userspaceSubject(settings, kernels, kernels));
  },
};

/** `saved` tells what is in the kernels, one for each family, too. */
export function userspaceSubject(
  settings: ProxySettings,
  kernels: readonly IptablesKernel[],
  saved: readonly Saved[],
): Subject {
  const parts = kernels.map((iptables) => ({
    iptables,
    conntrack: new FakeConntrack(),
    openFronts: fakeFronts(),
  }));
  const backend = new UserspaceBackend(parts, settings, { redirect: 'nat' }, CHANCE);
  return {
    backend,
    // Which endpoints a connection gets is not in the kernel: the tracer asks the process for them.
    observe: async () => {
      const lines: string[] = [];
      for (const kernel of saved) lines.push(...(await savedLines(kernel, ['nat', 'filter'])));
      return lines;
    },
    // Asked for first in each step.
    tracer: async (node) => {
      const tracers = new Map<number, UserspaceTracer>();
      for (const family of backend.natFamilies) {
        const kernel = saved.find((one) => one.family === family.family);
        kernel?.forget?.();
        tracers.set(family.family, await UserspaceTracer.read(family, node, kernel));
      }
      return {
        trace: (packet) =>
          tracers.get(packet.destination.includes(':') ? 6 : 4)?.trace(packet) ?? { kind: 'pass' },
      };
    },
    close: async () => await backend.close(),
  };
}
