import { nodeNamespace } from './node-namespace.ts';
import { describePodNetwork, IPIP_BACKENDS } from './pod-network-suite.ts';

describePodNetwork('Linux with IPIP', IPIP_BACKENDS, nodeNamespace);
