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
    passWithNoTests: true,
  },
} as const;

/** Vitest leaves one processor out when it is not told, which on two is half. */
const WORKERS = 2;

const isUml = ({ moduleId }: TestSpecification): boolean => moduleId.includes('/test/uml/');

/** The files that boot a kernel of their own take longest, and one processor each: they begin, others run beside them. */
class UmlFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return [...sorted.filter(isUml), ...sorted.filter((file) => !isUml(file))];
  }
}

// Three projects more: `fast` (pure, runs on every save and in `npm run check`), `kernel` (needs root, a few
// seconds) and `scenarios` (drives the built command in a lab; once in CI).
export default defineConfig({
  test: {
    pool: 'forks',
    sequence: { sequencer: UmlFirst },
    projects: [
      uml,
      {
        extends: true,
        test: {
          name: 'fast',
          include: ['src/**/*.test.ts', 'test/*.test.ts'],
          maxWorkers: WORKERS,
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
          maxWorkers: WORKERS,
          sequence: { groupOrder: 2 },
        },
      },
      {
        extends: true,
        test: {
          name: 'scenarios',
          include: ['test/scenarios/**/*.scenario.ts', 'test/runtime/**/*.scenario.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
