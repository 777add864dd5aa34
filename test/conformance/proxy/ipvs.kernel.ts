import { umlTests } from '../../uml/suite.ts';

const FILES = ['rows', 'changes', 'distribution', 'repairs'].map(
  (name) => `test/conformance/proxy/${name}.ipvs.uml.ts`,
);

await umlTests(FILES);
