import { FakeIptables } from '../../../src/kernel/iptables/fake.ts';
import type { IptablesKernel, TableName } from '../../../src/kernel/iptables/objects.ts';
import { IptablesBackend } from '../../../src/proxy/backends/iptables/backend.ts';
import type { NodeState } from '../../../src/proxy/backends/iptables/node-state.ts';
import { IptablesTracer } from '../../../src/proxy/backends/iptables/tracer.ts';
import type { RandomMode, Subject } from './random-suite.ts';
import type { SlowMode } from './slow-model.ts';

const FAKE_NODE: NodeState = {
  routeLocalnet: () => {},
  tcpBeLiberal: () => false,
  ensureCounter: () => true,
  packets: () => undefined,
  close: () => {},
};

export const IPTABLES_RULES: SlowMode = {
  unusedPort: 'pass',
  unallocated: 'pass',
  hairpin: 'everywhere',
  deniedWithoutEndpoints: 'reject',
  externalWithoutEndpointsFromNode: 'pass',
  refusesEverywhere: true,
  loopback: true,
  proxied: false,
  protocols: ['TCP', 'UDP', 'SCTP'],
};

export const FAKE_IPTABLES: RandomMode = {
  name: 'iptables',
  rules: IPTABLES_RULES,
  async open(settings) {
    const kernels = settings.families.map((family) => new FakeIptables(family));
    return Promise.resolve(iptablesSubject(new IptablesBackend(kernels, FAKE_NODE, settings), kernels));
  },
};

/** What is read of the tables, where not by the kernels themselves. */
export type Saved = Pick<IptablesKernel, 'family' | 'save'> & { forget?(): void };

export function iptablesSubject(backend: IptablesBackend, kernels: readonly Saved[]): Subject {
  return {
    backend,
    observe: async () => {
      const lines: string[] = [];
      for (const kernel of kernels) lines.push(...(await savedLines(kernel, ['nat', 'filter', 'mangle'])));
      return lines;
    },
    // Asked for first in each step.
    tracer: async (node) => {
      for (const kernel of kernels) kernel.forget?.();
      return await IptablesTracer.observe(kernels, node);
    },
    close: async () => await backend.close(),
  };
}

export async function savedLines(kernel: Saved, tables: readonly TableName[]): Promise<string[]> {
  const lines: string[] = [];
  for (const table of tables) {
    const saved = canonical(await kernel.save(table));
    lines.push(...saved.map((line) => `IPv${kernel.family} ${table} ${line}`));
  }
  return lines;
}

/**
 * Of what iptables-save prints, what matters. Rules of several Services in one chain may stand in any order; so may the
 * endpoints of a Service, but each place has its own probability.
 */
function canonical(saved: string): string[] {
  return saved
    .split('\n')
    .filter((line) => line.startsWith(':') || line.startsWith('-A'))
    .flatMap((line) => {
      const chain = line
        .replaceAll(/ +/g, ' ')
        // Everybody is not worth saying for the kernel.
        .replace(/ -s (::|0\.0\.0\.0)\/0/, '')
        .replace(/ \[\d+:\d+\]$/, '')
        .replace(/^\[\d+:\d+\] /, '');
      const chance = / -m statistic --mode random --probability [\d.]+/.exec(chain)?.[0];
      if (chance === undefined) return [chain];
      const name = chain.split(' ')[1] ?? '';
      return [chain.replace(chance, ''), `${name}${chance}`];
    })
    .sort();
}
