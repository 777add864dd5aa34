import { IPTABLES_NFT } from './modes.ts';
import { describeRows } from './rows-suite.ts';

describeRows(IPTABLES_NFT);
