import { describeDistribution } from './distribution-suite.ts';
import { NFTABLES } from './modes.ts';

describeDistribution(NFTABLES);
