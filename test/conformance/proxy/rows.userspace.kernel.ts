import { USERSPACE } from './modes.ts';
import { describeRows } from './rows-suite.ts';

describeRows(USERSPACE);
