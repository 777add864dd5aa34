import { FAKE_IPTABLES } from './conformance/proxy/random-iptables.ts';
import { describeRandomChanges } from './conformance/proxy/random-suite.ts';

describeRandomChanges(FAKE_IPTABLES, { steps: 510, packetsPerStep: 20 });
