import { describeRepairs } from './repair-suite.ts';

describeRepairs({
  name: 'userspace',
  mode: 'userspace',
  before: ['iptables-legacy -t mangle -N KUBE-KUBELET-CANARY'],
  harms: [
    { name: 'a table is flushed', commands: ['iptables-legacy -t nat -F'] },
    { name: 'one chain is flushed', commands: ['ip6tables-legacy -t nat -F KUBE-PORTALS-CONTAINER'] },
    { name: 'the jumps to our rules are deleted', commands: ['iptables-legacy -t nat -F PREROUTING'] },
  ],
});
