import { IPTABLES_NFT } from './modes.ts';
import { describeChanges } from './changes-suite.ts';

describeChanges(IPTABLES_NFT);
