import { umlTests } from './suite.ts';

const FILES = ['rows', 'changes', 'distribution', 'repairs', 'random'].map(
  (name) => `test/conformance/proxy/${name}.ipvs.uml.ts`,
);

// A minute and a half when nobody else wants the processors.
await umlTests(FILES, { timeoutMs: 900_000 });
