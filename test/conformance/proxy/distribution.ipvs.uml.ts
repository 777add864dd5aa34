import { describeDistribution } from './distribution-suite.ts';
import { IPVS } from './modes.ts';

describeDistribution(IPVS);
