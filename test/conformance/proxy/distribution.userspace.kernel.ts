import { describeDistribution } from './distribution-suite.ts';
import { USERSPACE } from './modes.ts';

describeDistribution(USERSPACE);
