import { defineConfig } from 'vitest/config';

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

// Three projects more: `fast` (pure, runs on every save and in `npm run check`), `kernel` (needs root, a few
// seconds) and `scenarios` (drives the built command in a lab; once in CI).
export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      uml,
      { extends: true, test: { name: 'fast', include: ['src/**/*.test.ts', 'test/*.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'kernel',
          include: ['src/**/*.kernel.ts', 'test/conformance/**/*.kernel.ts', 'test/uml/*.kernel.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          fileParallelism: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'scenarios',
          include: ['test/scenarios/**/*.scenario.ts', 'test/runtime/**/*.scenario.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
