import { IPVS } from './modes.ts';
import { describeRows } from './rows-suite.ts';

describeRows(IPVS);
