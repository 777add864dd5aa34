import { answered, DROPPED, REJECTED, row, rows, type Topic } from '../row.ts';
import { ADDRESSES } from '../topology.ts';
import { EVERY_POD } from './cluster-ip.ts';

const UDP = [{ port: 53, protocol: 'UDP' }] as const;
const SCTP = [{ port: 9000, protocol: 'SCTP' }] as const;

const host = (name: 'outside' | 'pod' | 'node' | 'otherNode'): string[] => [
  `${ADDRESSES[4][name]}/32`,
  `${ADDRESSES[6][name]}/128`,
];

const NOT_IN_OUTPUT = {
  iptables: {
    reason: 'kube-proxy has KUBE-EXTERNAL-SERVICES in INPUT and FORWARD, not in OUTPUT',
    instead: DROPPED,
  },
} as const;

/** External addresses and load balancers. */
export const EXTERNAL_TOPICS: readonly Topic[] = [
  {
    service: { name: 'external', externalIps: true, endpoints: EVERY_POD },
    rows: [
      ...rows(['outside', 'remote-pod', 'pod', 'node'], 'external-ip', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
    ],
  },
  {
    service: { name: 'external-udp', externalIps: true, ports: UDP, endpoints: EVERY_POD },
    rows: rows(['outside', 'pod', 'node'], 'external-ip', answered(EVERY_POD, 'node')),
  },
  {
    service: { name: 'external-sctp', externalIps: true, ports: SCTP, endpoints: EVERY_POD },
    rows: rows(['outside', 'pod'], 'external-ip', answered(EVERY_POD, 'node')),
  },
  {
    service: { name: 'external-nobody', externalIps: true, endpoints: [] },
    rows: [
      ...rows(['outside', 'pod'], 'external-ip', REJECTED),
      row('node', 'external-ip', REJECTED, { except: NOT_IN_OUTPUT }),
    ],
  },
  {
    service: {
      name: 'external-local',
      externalIps: true,
      externalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('outside', 'external-ip', answered('pod', 'caller')),
      row('other-pod', 'external-ip', answered(['pod', 'remote-pod'], 'caller')),
      row('node', 'external-ip', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'external-local-none-here',
      externalIps: true,
      externalLocal: true,
      endpoints: ['remote-pod'],
    },
    rows: [
      row('outside', 'external-ip', DROPPED),
      row('pod', 'external-ip', answered('remote-pod', 'caller')),
      row('node', 'external-ip', answered('remote-pod', 'node')),
    ],
  },
  {
    service: { name: 'balancer', type: 'LoadBalancer', ingress: 'VIP', endpoints: EVERY_POD },
    rows: [
      ...rows(['outside', 'remote-pod', 'pod', 'node'], 'load-balancer-ip', answered(EVERY_POD, 'node')),
      row('outside', 'node-port', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
    ],
  },
  {
    service: { name: 'balancer-unsaid', type: 'LoadBalancer', ingress: 'unsaid', endpoints: EVERY_POD },
    rows: [row('outside', 'load-balancer-ip', answered(EVERY_POD, 'node'))],
  },
  {
    service: { name: 'balancer-udp', type: 'LoadBalancer', ingress: 'VIP', ports: UDP, endpoints: EVERY_POD },
    rows: rows(['outside', 'node'], 'load-balancer-ip', answered(EVERY_POD, 'node')),
  },
  // What such a load balancer sends comes to the node ports; its address is none of the node's business.
  {
    service: { name: 'balancer-proxy', type: 'LoadBalancer', ingress: 'Proxy', endpoints: EVERY_POD },
    rows: [
      ...rows(['outside', 'pod', 'node'], 'load-balancer-ip', DROPPED),
      row('outside', 'node-port', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
    ],
  },
  {
    service: { name: 'balancer-nobody', type: 'LoadBalancer', ingress: 'VIP', endpoints: [] },
    rows: [
      ...rows(['outside', 'pod'], 'load-balancer-ip', REJECTED),
      row('node', 'load-balancer-ip', REJECTED, { except: NOT_IN_OUTPUT }),
    ],
  },
  {
    service: {
      name: 'balancer-local',
      type: 'LoadBalancer',
      ingress: 'VIP',
      externalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('outside', 'load-balancer-ip', answered('pod', 'caller')),
      row('other-pod', 'load-balancer-ip', answered(['pod', 'remote-pod'], 'caller')),
      row('node', 'load-balancer-ip', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'balancer-local-none-here',
      type: 'LoadBalancer',
      ingress: 'VIP',
      externalLocal: true,
      endpoints: ['remote-pod'],
    },
    rows: [
      row('outside', 'load-balancer-ip', DROPPED),
      row('pod', 'load-balancer-ip', answered('remote-pod', 'caller')),
      row('node', 'load-balancer-ip', answered('remote-pod', 'node')),
    ],
  },
  // Source ranges guard the load balancer's addresses and nothing else.
  {
    service: {
      name: 'ranges',
      type: 'LoadBalancer',
      ingress: 'VIP',
      externalIps: true,
      sourceRanges: [...host('outside'), ...host('pod')],
      endpoints: EVERY_POD,
    },
    rows: [
      ...rows(['outside', 'pod'], 'load-balancer-ip', answered(EVERY_POD, 'node')),
      ...rows(['other-pod', 'remote-pod', 'node'], 'load-balancer-ip', DROPPED),
      ...rows(['other-pod', 'node'], 'node-port', answered(EVERY_POD, 'node')),
      row('other-pod', 'external-ip', answered(EVERY_POD, 'node')),
      row('other-pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
    ],
  },
  {
    service: {
      name: 'ranges-with-node',
      type: 'LoadBalancer',
      ingress: 'VIP',
      sourceRanges: host('node'),
      endpoints: EVERY_POD,
    },
    rows: [
      row('node', 'load-balancer-ip', answered(EVERY_POD, 'node')),
      ...rows(['outside', 'pod'], 'load-balancer-ip', DROPPED),
    ],
  },
  {
    service: {
      name: 'ranges-wide',
      type: 'LoadBalancer',
      ingress: 'VIP',
      sourceRanges: [' 10.250.0.0/24 ', '10.250.0.0/16', 'fd00:250::/64', 'fd00:250::/32'],
      endpoints: EVERY_POD,
    },
    rows: [
      row('outside', 'load-balancer-ip', answered(EVERY_POD, 'node')),
      row('pod', 'load-balancer-ip', DROPPED),
    ],
  },
  {
    service: {
      name: 'ranges-one-family',
      type: 'LoadBalancer',
      ingress: 'VIP',
      sourceRanges: ['10.250.0.3/32'],
      endpoints: EVERY_POD,
    },
    rows: [
      row('outside', 'load-balancer-ip', answered(EVERY_POD, 'node')),
      row('pod', 'load-balancer-ip', DROPPED, { families: [4] }),
      row('pod', 'load-balancer-ip', answered(EVERY_POD, 'node'), { families: [6] }),
    ],
  },
  {
    service: {
      name: 'ranges-local',
      type: 'LoadBalancer',
      ingress: 'VIP',
      externalLocal: true,
      sourceRanges: [...host('outside'), ...host('pod')],
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('outside', 'load-balancer-ip', answered('pod', 'caller')),
      row('pod', 'load-balancer-ip', answered(['pod', 'remote-pod'], 'caller')),
      ...rows(['other-pod', 'node'], 'load-balancer-ip', DROPPED),
    ],
  },
  {
    service: {
      name: 'ranges-none-here',
      type: 'LoadBalancer',
      ingress: 'VIP',
      externalLocal: true,
      sourceRanges: host('outside'),
      endpoints: ['remote-pod'],
    },
    rows: rows(['outside', 'pod'], 'load-balancer-ip', DROPPED),
  },
  {
    service: {
      name: 'ranges-udp',
      type: 'LoadBalancer',
      ingress: 'VIP',
      ports: UDP,
      sourceRanges: host('outside'),
      endpoints: EVERY_POD,
    },
    rows: [
      row('outside', 'load-balancer-ip', answered(EVERY_POD, 'node')),
      row('pod', 'load-balancer-ip', DROPPED),
    ],
  },
];
