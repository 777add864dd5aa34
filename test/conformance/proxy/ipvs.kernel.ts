import { umlTests } from '../../uml/suite.ts';

const FILES = ['test/conformance/proxy/rows.ipvs.uml.ts', 'test/conformance/proxy/changes.ipvs.uml.ts'];

await umlTests(FILES);
