import { FAKE_NFTABLES } from './conformance/proxy/random-nftables.ts';
import { describeRandomChanges } from './conformance/proxy/random-suite.ts';

describeRandomChanges(FAKE_NFTABLES, { steps: 510, packetsPerStep: 20 });
