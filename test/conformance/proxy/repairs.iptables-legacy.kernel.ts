import { describeRepairs, iptablesHarms } from './repair-suite.ts';

describeRepairs({
  name: 'iptables (legacy)',
  mode: 'iptables',
  // The chain by which kubelet tells which variant the node uses.
  before: ['iptables-legacy -t mangle -N KUBE-KUBELET-CANARY'],
  harms: iptablesHarms('legacy'),
});
