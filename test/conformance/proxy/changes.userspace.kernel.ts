import { USERSPACE } from './modes.ts';
import { describeChanges } from './changes-suite.ts';

describeChanges(USERSPACE);
