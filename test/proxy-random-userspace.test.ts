import { FAKE_USERSPACE } from './conformance/proxy/random-userspace.ts';
import { describeRandomChanges } from './conformance/proxy/random-suite.ts';

describeRandomChanges(FAKE_USERSPACE, { steps: 510, packetsPerStep: 20 });
