import { describeRepairs } from './repair-suite.ts';
import { clusterIp } from './objects.ts';
import { ADDRESSES } from './topology.ts';

describeRepairs({
  name: 'ipvs',
  mode: 'ipvs',
  harms: [
    { name: 'ipvsadm --clear', commands: ['ipvsadm --clear'] },
    { name: 'one virtual server is deleted', commands: [`ipvsadm -D -t ${clusterIp(1, 4)}:80`] },
    {
      name: 'a real server is deleted',
      commands: [`ipvsadm -d -t ${clusterIp(1, 4)}:80 -r ${ADDRESSES[4].pod}:8080`],
    },
    { name: 'a service address is taken', commands: [`ip addr del ${clusterIp(1, 4)}/32 dev kube-ipvs0`] },
    { name: 'kube-ipvs0 is deleted', commands: ['ip link del kube-ipvs0'] },
    { name: 'a set is emptied', commands: ['ipset flush KUBE-CLUSTER-IP'] },
    { name: 'a table is flushed', commands: ['iptables-legacy -t nat -F'] },
  ],
});
