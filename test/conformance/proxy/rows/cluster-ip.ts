import { answered, DROPPED, REJECTED, row, rows, type Topic } from '../row.ts';

export const EVERY_POD = ['pod', 'other-pod', 'remote-pod'] as const;
export const PODS_HERE = ['pod', 'other-pod'] as const;

const UNUSED_PORT = {
  iptables: {
    reason: 'kube-proxy has rules for the ports that a Service has, not for its address',
    instead: DROPPED,
  },
  userspace: {
    reason: 'there are rules for the ports that a Service has, not for its address',
    instead: DROPPED,
  },
} as const;

/** Who reaches a ClusterIP, by which protocol, and whom the endpoint sees. */
export const CLUSTER_IP_TOPICS: readonly Topic[] = [
  {
    service: { name: 'web', endpoints: EVERY_POD },
    rows: [
      ...rows(['pod', 'other-pod'], 'cluster-ip', answered(EVERY_POD, 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered(EVERY_POD, 'node')),
      ...rows(['pod', 'outside', 'node'], 'cluster-ip', REJECTED, { port: 81, except: UNUSED_PORT }),
    ],
  },
  {
    service: { name: 'web-here', endpoints: PODS_HERE },
    rows: [row('remote-pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  {
    service: { name: 'web-remote', endpoints: ['remote-pod'] },
    rows: [
      row('pod', 'cluster-ip', answered('remote-pod', 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered('remote-pod', 'node')),
    ],
  },
  {
    service: { name: 'hairpin', endpoints: ['pod'] },
    rows: [
      row('pod', 'cluster-ip', answered('pod', 'node')),
      ...rows(['other-pod', 'remote-pod'], 'cluster-ip', answered('pod', 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered('pod', 'node')),
    ],
  },
  {
    service: { name: 'udp', ports: [{ port: 53, protocol: 'UDP' }], endpoints: EVERY_POD },
    rows: [
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', REJECTED, { port: 54, except: UNUSED_PORT }),
    ],
  },
  {
    service: { name: 'udp-here', ports: [{ port: 53, protocol: 'UDP' }], endpoints: PODS_HERE },
    rows: [row('remote-pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  {
    service: { name: 'sctp', ports: [{ port: 9000, protocol: 'SCTP' }], endpoints: EVERY_POD },
    rows: [
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', REJECTED, { port: 9001, except: UNUSED_PORT }),
    ],
  },
  {
    service: { name: 'sctp-here', ports: [{ port: 9000, protocol: 'SCTP' }], endpoints: PODS_HERE },
    rows: [row('remote-pod', 'cluster-ip', answered(PODS_HERE, 'caller'))],
  },
  // One port number in three protocols, each with a port of its own behind it.
  {
    service: {
      name: 'dns',
      ports: [
        { name: 'tcp', port: 53, protocol: 'TCP' },
        { name: 'udp', port: 53, protocol: 'UDP' },
        { name: 'sctp', port: 53, protocol: 'SCTP' },
      ],
      slices: [
        {
          endpoints: [{ pod: 'other-pod' }, { pod: 'remote-pod' }],
          ports: [
            { name: 'udp', port: 8082, protocol: 'UDP' },
            { name: 'tcp', port: 8081, protocol: 'TCP' },
            { name: 'sctp', port: 8083, protocol: 'SCTP' },
          ],
        },
      ],
    },
    rows: [
      row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller', 8081), { protocol: 'TCP' }),
      row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller', 8082), { protocol: 'UDP' }),
      row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller', 8083), { protocol: 'SCTP' }),
    ],
  },
  // Ports are told by their names, also where pods have different numbers for one of them.
  {
    service: {
      name: 'named-ports',
      ports: [
        { name: 'http', port: 80 },
        { name: 'metrics', port: 9090 },
      ],
      slices: [
        {
          endpoints: [{ pod: 'other-pod' }],
          ports: [
            { name: 'metrics', port: 8083 },
            { name: 'http', port: 8081 },
          ],
        },
      ],
    },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller', 8081)),
      row('pod', 'cluster-ip', answered('other-pod', 'caller', 8083), { port: 9090 }),
      row('outside', 'cluster-ip', answered('other-pod', 'node', 8083), { port: 9090 }),
    ],
  },
  {
    service: {
      name: 'port-without-endpoints',
      ports: [
        { name: 'http', port: 80 },
        { name: 'nobody', port: 81 },
      ],
      slices: [{ endpoints: [{ pod: 'other-pod' }], ports: [{ name: 'http', port: 8080 }] }],
    },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller')),
      row('pod', 'cluster-ip', REJECTED, { port: 81 }),
    ],
  },
  {
    service: { name: 'only-ipv4', endpoints: ['other-pod'], families: [4] },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller'), { families: [4] }),
      row('pod', 'cluster-ip', DROPPED, { families: [6] }),
    ],
  },
  {
    service: { name: 'only-ipv6', endpoints: ['other-pod'], families: [6] },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller'), { families: [6] }),
      row('pod', 'cluster-ip', DROPPED, { families: [4] }),
    ],
  },
  {
    service: { name: 'nobody', endpoints: [] },
    rows: rows(['pod', 'remote-pod', 'outside', 'node'], 'cluster-ip', REJECTED),
  },
  {
    service: { name: 'nobody-udp', ports: [{ port: 53, protocol: 'UDP' }], endpoints: [] },
    rows: rows(['pod', 'outside', 'node'], 'cluster-ip', REJECTED),
  },
  {
    service: { name: 'nobody-sctp', ports: [{ port: 9000, protocol: 'SCTP' }], endpoints: [] },
    rows: rows(['pod', 'outside'], 'cluster-ip', REJECTED),
  },
  // Nothing of these is programmed: their addresses are addresses of the service range that nobody has.
  {
    service: { name: 'headless', headless: true, endpoints: EVERY_POD },
    rows: rows(['pod', 'node'], 'cluster-ip', DROPPED),
  },
  {
    service: { name: 'external-name', type: 'ExternalName', endpoints: [] },
    rows: [row('pod', 'cluster-ip', DROPPED)],
  },
  {
    service: {
      name: 'of-another-proxy',
      endpoints: EVERY_POD,
      labels: { 'service.kubernetes.io/service-proxy-name': 'another' },
    },
    rows: [row('pod', 'cluster-ip', DROPPED)],
  },
];
