import { FAKE_IPVS } from './conformance/proxy/random-ipvs.ts';
import { describeRandomChanges } from './conformance/proxy/random-suite.ts';

describeRandomChanges(FAKE_IPVS, { steps: 510, packetsPerStep: 20 });
