import { NFTABLES } from './modes.ts';
import { describeRows } from './rows-suite.ts';

describeRows(NFTABLES);
