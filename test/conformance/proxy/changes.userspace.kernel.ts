import { describeChanges } from './changes-suite.ts';
import { USERSPACE } from './modes.ts';

describeChanges(USERSPACE);
