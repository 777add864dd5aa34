import { afterAll } from 'vitest';
import { buildOnce, DIST, removeBuild } from '../conformance/podnet/small-cluster.ts';
import { umlTests } from './suite.ts';

afterAll(removeBuild);

// In there nothing can be written: the command is built here.
await buildOnce();
process.env['FLATNET_SMALL_CLUSTER_DIST'] = DIST;
await umlTests(
  [
    'test/conformance/netlink/ipip.uml.ts',
    'test/conformance/podnet/pod-network.uml.ts',
    'test/conformance/podnet/backends/backends.uml.ts',
  ],
  {
    timeoutMs: 900_000,
    environment: ['FLATNET_SMALL_CLUSTER_DIST'],
    modules: ['ipip', 'ip6table_nat', 'iptable_nat'],
  },
);
