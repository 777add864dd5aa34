import { IPVS } from './modes.ts';
import { describeChanges } from './changes-suite.ts';

describeChanges(IPVS);
