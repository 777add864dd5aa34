import { answered, DROPPED, row, type Topic } from '../row.ts';
import { PODS_HERE } from './cluster-ip.ts';

/** What cannot be programmed, beside what can: of the same object, and of others. */
export const BAD_INPUT_TOPICS: readonly Topic[] = [
  {
    service: {
      name: 'bad-cluster-ip',
      endpoints: PODS_HERE,
      spoilService: ({ spec }) => {
        if (spec) spec.clusterIPs = ['10.96.1.999', spec.clusterIPs?.[1] ?? ''];
      },
    },
    rows: [
      row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'), { families: [6] }),
      row('pod', 'cluster-ip', DROPPED, { families: [4] }),
    ],
  },
  {
    service: {
      name: 'bad-ports',
      endpoints: PODS_HERE,
      spoilService: ({ spec }) => {
        spec?.ports?.unshift(
          { port: 0, protocol: 'TCP' },
          { port: 70_000, protocol: 'TCP' },
          { port: 82, protocol: 'ICMP' },
        );
      },
    },
    rows: [row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'), { port: 80 })],
  },
  {
    service: {
      name: 'bad-node-port',
      type: 'NodePort',
      ports: [{ port: 80, nodePort: 123_456 }],
      endpoints: PODS_HERE,
    },
    rows: [row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  {
    service: {
      name: 'bad-external-ips',
      externalIps: true,
      endpoints: PODS_HERE,
      spoilService: ({ spec }) => {
        spec?.externalIPs?.unshift('example.com', '300.1.2.3', '127.0.0.1', '::', '0.0.0.0; drop');
      },
    },
    rows: [row('outside', 'external-ip', answered(PODS_HERE, 'node'))],
  },
  {
    service: {
      name: 'bad-ingress',
      type: 'LoadBalancer',
      ingress: 'VIP',
      endpoints: PODS_HERE,
      spoilService: ({ status }) => {
        status?.loadBalancer?.ingress?.unshift({ ip: 'nowhere' }, { hostname: 'lb.example.com' });
      },
    },
    rows: [row('outside', 'load-balancer-ip', answered(PODS_HERE, 'node'))],
  },
  // A range that cannot be read may have been meant to admit few: it must not end in admitting everybody.
  {
    service: {
      name: 'bad-ranges',
      type: 'LoadBalancer',
      ingress: 'VIP',
      sourceRanges: ['10.250.0.3/33', 'everybody'],
      endpoints: PODS_HERE,
    },
    rows: [
      row('outside', 'load-balancer-ip', DROPPED),
      row('outside', 'node-port', answered(PODS_HERE, 'node')),
    ],
  },
  {
    service: {
      name: 'bad-range-and-good',
      type: 'LoadBalancer',
      ingress: 'VIP',
      sourceRanges: ['10.250.0.3/33', '10.250.0.3/32', 'fd00:250::3/128'],
      endpoints: PODS_HERE,
    },
    rows: [
      row('outside', 'load-balancer-ip', answered(PODS_HERE, 'node')),
      row('pod', 'load-balancer-ip', DROPPED),
    ],
  },
  {
    service: {
      name: 'bad-endpoints',
      endpoints: PODS_HERE,
      spoilSlice: (slice, family) => {
        const others = family === 4 ? ['fd00:10:244:1::10', '10.244.1.1000'] : ['10.244.1.10', 'fd00::zz'];
        for (const address of [...others, '127.0.0.1', '', '$(reboot)']) {
          slice.endpoints.unshift({ addresses: [address], conditions: { ready: true } });
        }
        slice.endpoints.unshift({ addresses: [] });
      },
    },
    rows: [row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  {
    service: {
      name: 'bad-target-ports',
      endpoints: PODS_HERE,
      spoilSlice: (slice) => {
        slice.ports?.unshift({ name: '', port: 0 }, { name: '', port: 65_536 }, { name: '' });
      },
    },
    rows: [row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  {
    service: {
      name: 'bad-policies',
      type: 'NodePort',
      endpoints: PODS_HERE,
      spoilService: ({ spec }) => {
        if (spec === undefined) return;
        spec.externalTrafficPolicy = 'Global';
        spec.internalTrafficPolicy = 'Lokal';
        spec.sessionAffinity = 'Cookie';
      },
    },
    rows: [
      row('pod', 'cluster-ip', answered(PODS_HERE, 'caller')),
      row('outside', 'node-port', answered(PODS_HERE, 'node')),
    ],
  },
  {
    service: { name: 'good-beside-bad', endpoints: PODS_HERE },
    rows: [row('pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
];
