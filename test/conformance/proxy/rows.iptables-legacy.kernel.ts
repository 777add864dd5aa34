import { IPTABLES_LEGACY } from './modes.ts';
import { describeRows } from './rows-suite.ts';

describeRows(IPTABLES_LEGACY);
