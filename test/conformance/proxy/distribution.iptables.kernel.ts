import { describeDistribution } from './distribution-suite.ts';
import { IPTABLES_LEGACY } from './modes.ts';

describeDistribution(IPTABLES_LEGACY);
