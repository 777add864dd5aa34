import { describeRepairs, iptablesHarms } from './repair-suite.ts';

describeRepairs({
  name: 'iptables (nft)',
  mode: 'iptables',
  // The chain by which kubelet tells which variant the node uses.
  before: ['iptables-nft -t mangle -N KUBE-KUBELET-CANARY'],
  harms: [...iptablesHarms('nft'), { name: 'nft flush ruleset', commands: ['nft flush ruleset'] }],
});
