import { umlTests } from '../uml/suite.ts';

// No lab: user-mode-linux has no nf_tables for the agent's own rules, and one processor.
await umlTests(['test/scenarios/proxy-ipvs.uml.ts'], {
  modules: ['ip_vs', 'dummy', 'veth'],
  timeoutMs: 600_000,
});
