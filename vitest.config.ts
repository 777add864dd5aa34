import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What needs a kernel of its own: test/uml/suite.ts runs these files in user-mode-linux, only there they are found. */
const uml = {
  extends: true,
  test: {
    name: 'uml',
    include: process.env['FLATNET_UML'] === '1' ? ['src/**/*.uml.ts', 'test/**/*.uml.ts'] : [],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    // In there a process takes seconds to start.
    isolate: false,
    passWithNoTests: true,
  },
} as const;

/** What is measured in these would be another's doing if anything ran beside them. */
const TIMED = ['first-cluster', 'proxy-under-load', 'scale'].map(
  (name) => `test/scenarios/${name}.scenario.ts`,
);

/** What takes longest begins, so that nothing runs on alone at the end; of ten seconds and more, of `fast` of five. */
const LONG = [
  'test/uml/proxy.kernel.ts',
  'test/uml/podnet.kernel.ts',
  'test/scenarios/proxy-ipvs.scenario.ts',
  'test/scenarios/backend-change.scenario.ts',
  'backends/backends.kernel.ts',
  'proxy/random.iptables.kernel.ts',
  'backends/wireguard.kernel.ts',
  'wireguard-change.kernel.ts',
  // One of the three workers is left to what waits: user-mode-linux never does.
  'test/uml/ipvs.kernel.ts',
  'wireguard/pair.kernel.ts',
  'podnet/agent.kernel.ts',
  'podnet/cni-churn.kernel.ts',
  'test/scenarios/lab.scenario.ts',
  'test/scenarios/node-network.scenario.ts',
  'userspace/backend.kernel.ts',
  'proxy/random.nftables.kernel.ts',
  'stores/etcd-many-nodes.kernel.ts',
  'changes.userspace.kernel.ts',
  'changes.nftables.kernel.ts',
  'changes.iptables-nft.kernel.ts',
  'changes.iptables-legacy.kernel.ts',
  'apiserver/api-server.kernel.ts',
  'repairs.iptables-nft.kernel.ts',
  'repairs.iptables-legacy.kernel.ts',
  'podnet/cni-verbs.kernel.ts',
  'test/proxy-random-nftables.test.ts',
  'cluster/informer.test.ts',
  'controllers/controllers.test.ts',
  'test/proxy-random-ipvs.test.ts',
  'test/proxy-random-iptables.test.ts',
  'test/pod-network.test.ts',
];

/** Of equal ones the slower kind: the many short files of `fast` fill the gaps at the end. */
function rank({ moduleId, project }: TestSpecification): number {
  const place = LONG.findIndex((end) => moduleId.endsWith(end));
  return place === -1 ? LONG.length + (project.name === 'fast' ? 1 : 0) : place;
}

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => rank(a) - rank(b));
  }
}

// `fast` (pure, runs on every save and in `npm run check`), `kernel` (needs root, a few seconds), `scenarios` (drives
// the built command in a lab; once in CI) and `timed` (scenarios that run alone). Most of `kernel` waits most of the
// time: three at once are right for two processors, and no fewer elsewhere.
export default defineConfig({
  test: {
    pool: 'forks',
    setupFiles: ['test/patience.ts'],
    expect: { poll: { timeout: 10_000 } },
    sequence: { sequencer: LongestFirst },
    projects: [
      uml,
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['src/**/*.test.ts', 'test/*.test.ts'],
          // Properties of many runs, on a machine that does something else, too.
          testTimeout: 30_000,
          // A process and its imports cost more than most of these files.
          isolate: false,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'kernel',
          include: ['src/**/*.kernel.ts', 'test/conformance/**/*.kernel.ts', 'test/uml/*.kernel.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          maxWorkers: 3,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'scenarios',
          include: ['test/scenarios/**/*.scenario.ts', 'test/runtime/**/*.scenario.ts'],
          exclude: TIMED,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'timed',
          include: TIMED,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
