import { IPTABLES_LEGACY } from './modes.ts';
import { describeChanges } from './changes-suite.ts';

describeChanges(IPTABLES_LEGACY);
