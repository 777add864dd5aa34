import { answered, DROPPED, REJECTED, row, rows, type Topic } from '../row.ts';
import { EVERY_POD } from './cluster-ip.ts';

const TERMINATING = { ready: false, serving: true, terminating: true } as const;
const UDP = [{ port: 53, protocol: 'UDP' }] as const;
const SCTP = [{ port: 9000, protocol: 'SCTP' }] as const;

/** Node ports: where they answer, whom the endpoint sees, and the policy Local. */
export const NODE_PORT_TOPICS: readonly Topic[] = [
  {
    service: { name: 'node-port', type: 'NodePort', endpoints: EVERY_POD },
    rows: [
      ...rows(['outside', 'remote-pod', 'pod', 'node'], 'node-port', answered(EVERY_POD, 'node')),
      row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered(EVERY_POD, 'node')),
      // By default node ports are on the node's InternalIPs alone.
      ...rows(['outside', 'node'], 'node-port at second address', REJECTED),
      ...rows(['pod', 'node'], 'node-port at bridge', REJECTED),
      row('node', 'node-port at loopback', REJECTED),
    ],
  },
  {
    service: { name: 'node-port-hairpin', type: 'NodePort', endpoints: ['pod'] },
    rows: [row('pod', 'node-port', answered('pod', 'node'))],
  },
  {
    service: { name: 'node-port-udp', type: 'NodePort', ports: UDP, endpoints: EVERY_POD },
    rows: rows(['outside', 'pod', 'node'], 'node-port', answered(EVERY_POD, 'node')),
  },
  {
    service: { name: 'node-port-sctp', type: 'NodePort', ports: SCTP, endpoints: EVERY_POD },
    rows: rows(['outside', 'pod', 'node'], 'node-port', answered(EVERY_POD, 'node')),
  },
  {
    service: {
      name: 'node-ports',
      type: 'NodePort',
      ports: [
        { name: 'http', port: 80 },
        { name: 'dns', port: 53, protocol: 'UDP' },
      ],
      slices: [
        {
          endpoints: [{ pod: 'other-pod' }],
          ports: [
            { name: 'http', port: 8081 },
            { name: 'dns', port: 8082, protocol: 'UDP' },
          ],
        },
      ],
    },
    rows: [
      row('outside', 'node-port', answered('other-pod', 'node', 8081)),
      row('outside', 'node-port', answered('other-pod', 'node', 8082), { port: 53, protocol: 'UDP' }),
      // The other protocol of a node port is nobody's.
      row('outside', 'node-port', REJECTED, { protocol: 'UDP' }),
    ],
  },
  {
    service: { name: 'node-port-nobody', type: 'NodePort', endpoints: [] },
    rows: rows(['outside', 'remote-pod', 'pod', 'node'], 'node-port', REJECTED),
  },
  {
    service: { name: 'node-port-nobody-udp', type: 'NodePort', ports: UDP, endpoints: [] },
    rows: rows(['outside', 'pod'], 'node-port', REJECTED),
  },
  // The client's address stays; pods and the node itself reach all endpoints.
  {
    service: {
      name: 'node-port-local',
      type: 'NodePort',
      externalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('outside', 'node-port', answered('pod', 'caller')),
      ...rows(['pod', 'other-pod'], 'node-port', answered(['pod', 'remote-pod'], 'caller')),
      row('node', 'node-port', answered(['pod', 'remote-pod'], 'node')),
      row('other-pod', 'cluster-ip', answered(['pod', 'remote-pod'], 'caller')),
      row('outside', 'cluster-ip', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'node-port-local-udp',
      type: 'NodePort',
      ports: UDP,
      externalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('outside', 'node-port', answered('pod', 'caller')),
      row('node', 'node-port', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'node-port-local-none-here',
      type: 'NodePort',
      externalLocal: true,
      endpoints: ['remote-pod'],
    },
    rows: [
      row('outside', 'node-port', DROPPED),
      row('pod', 'node-port', answered('remote-pod', 'caller')),
      row('node', 'node-port', answered('remote-pod', 'node')),
      row('outside', 'cluster-ip', answered('remote-pod', 'node')),
    ],
  },
  {
    service: {
      name: 'node-port-local-nobody',
      type: 'NodePort',
      externalLocal: true,
      endpoints: [],
    },
    rows: rows(['outside', 'pod', 'node'], 'node-port', REJECTED),
  },
  // Each policy takes what terminates only if it has nothing better itself.
  {
    service: {
      name: 'node-port-local-terminating',
      type: 'NodePort',
      externalLocal: true,
      endpoints: [{ pod: 'pod', ...TERMINATING }, 'remote-pod'],
    },
    rows: [
      row('outside', 'node-port', answered('pod', 'caller')),
      row('other-pod', 'node-port', answered('remote-pod', 'caller')),
      row('other-pod', 'cluster-ip', answered('remote-pod', 'caller')),
    ],
  },
  {
    service: {
      name: 'node-port-local-all-terminating',
      type: 'NodePort',
      externalLocal: true,
      endpoints: [
        { pod: 'pod', ...TERMINATING },
        { pod: 'remote-pod', ...TERMINATING },
      ],
    },
    rows: [
      row('outside', 'node-port', answered('pod', 'caller')),
      row('other-pod', 'node-port', answered(['pod', 'remote-pod'], 'caller')),
    ],
  },
  {
    service: {
      name: 'internal-local-node-port',
      type: 'NodePort',
      internalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('other-pod', 'cluster-ip', answered('pod', 'caller')),
      ...rows(['outside', 'node'], 'node-port', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'both-local',
      type: 'NodePort',
      internalLocal: true,
      externalLocal: true,
      endpoints: ['pod', 'remote-pod'],
    },
    rows: [
      row('other-pod', 'cluster-ip', answered('pod', 'caller')),
      row('outside', 'node-port', answered('pod', 'caller')),
      row('other-pod', 'node-port', answered(['pod', 'remote-pod'], 'caller')),
    ],
  },
  {
    service: { name: 'internal-local', internalLocal: true, endpoints: ['pod', 'remote-pod'] },
    rows: [
      ...rows(['pod', 'other-pod'], 'cluster-ip', answered('pod', 'caller')),
      ...rows(['outside', 'node'], 'cluster-ip', answered('pod', 'node')),
    ],
  },
  {
    service: { name: 'internal-local-none-here', internalLocal: true, endpoints: ['remote-pod'] },
    rows: rows(['pod', 'outside', 'node'], 'cluster-ip', DROPPED),
  },
  {
    service: { name: 'internal-local-nobody', internalLocal: true, endpoints: [] },
    rows: rows(['pod', 'node'], 'cluster-ip', REJECTED),
  },
  {
    service: {
      name: 'internal-local-terminating',
      internalLocal: true,
      endpoints: [{ pod: 'pod', ...TERMINATING }, 'remote-pod'],
    },
    rows: [row('other-pod', 'cluster-ip', answered('pod', 'caller'))],
  },
];
