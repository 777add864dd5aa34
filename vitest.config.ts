import { defineConfig } from 'vitest/config';

// Three projects: `fast` (pure, runs on every save and in `npm run check`), `kernel` (needs root, a few
// seconds) and `scenarios` (drives the built command in a lab; once in CI).
export default defineConfig({
  test: {
    pool: 'forks',
    projects: [
      { extends: true, test: { name: 'fast', include: ['src/**/*.test.ts', 'test/*.test.ts'] } },
      {
        extends: true,
        test: {
          name: 'kernel',
          include: ['src/**/*.kernel.ts', 'test/conformance/**/*.kernel.ts'],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          fileParallelism: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'scenarios',
          include: ['test/scenarios/**/*.scenario.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
