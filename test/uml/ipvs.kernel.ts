import { umlTests } from './suite.ts';

await umlTests([
  'test/uml/machine.uml.ts',
  'src/kernel/ipvs/ipvs-socket.uml.ts',
  'src/proxy/backends/ipvs/backend.uml.ts',
]);
