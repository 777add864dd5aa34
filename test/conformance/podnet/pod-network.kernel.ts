import { nodeNamespace } from './node-namespace.ts';
import { COMMON_BACKENDS, describePodNetwork } from './pod-network-suite.ts';

describePodNetwork('Linux', COMMON_BACKENDS, nodeNamespace);
