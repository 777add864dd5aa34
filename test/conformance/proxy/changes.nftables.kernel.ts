import { describeChanges } from './changes-suite.ts';
import { NFTABLES } from './modes.ts';

describeChanges(NFTABLES);
