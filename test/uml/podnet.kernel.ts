import { umlTests } from './suite.ts';

await umlTests(['test/conformance/netlink/ipip.uml.ts', 'test/conformance/podnet/pod-network.uml.ts']);
