import { answered, REJECTED, row, rows, type Topic } from '../row.ts';
import { EVERY_POD } from './cluster-ip.ts';

const TERMINATING = { ready: false, serving: true, terminating: true } as const;
const GONE = { ready: false, serving: false, terminating: true } as const;
const UNREADY = { ready: false } as const;

/** Which endpoints count: by slices, readiness, termination (KEP-1669) and hints (KEP-2433, KEP-3015). */
export const ENDPOINT_TOPICS: readonly Topic[] = [
  {
    service: {
      name: 'several-slices',
      slices: EVERY_POD.map((pod) => ({ endpoints: [{ pod }], ports: [{ port: 8081 }] })),
    },
    rows: [
      row('other-pod', 'cluster-ip', answered(EVERY_POD, 'caller', 8081)),
      row('node', 'cluster-ip', answered(EVERY_POD, 'node', 8081)),
    ],
  },
  // A pod that moves from slice to slice is in both for a moment.
  {
    service: {
      name: 'twice-in-slices',
      slices: [
        { endpoints: [{ pod: 'other-pod' }], ports: [{ port: 8080 }] },
        { endpoints: [{ pod: 'other-pod' }, { pod: 'remote-pod' }], ports: [{ port: 8080 }] },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
  {
    service: { name: 'one-unready', endpoints: [{ pod: 'pod', ...UNREADY }, 'other-pod', 'remote-pod'] },
    rows: rows(['pod', 'other-pod'], 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller')),
  },
  {
    service: { name: 'all-unready', endpoints: EVERY_POD.map((pod) => ({ pod, ...UNREADY })) },
    rows: rows(['pod', 'outside'], 'cluster-ip', REJECTED),
  },
  // The slices' controller says ready for all pods of such a Service, whether they serve or not.
  {
    service: {
      name: 'publish-not-ready',
      publishNotReadyAddresses: true,
      endpoints: [
        { pod: 'other-pod', ready: true, serving: false },
        { pod: 'remote-pod', ready: true, serving: false, terminating: true },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
  {
    service: {
      name: 'all-terminating',
      endpoints: [
        { pod: 'other-pod', ...TERMINATING },
        { pod: 'remote-pod', ...TERMINATING },
      ],
    },
    rows: [
      row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller')),
      row('outside', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: {
      name: 'terminating-and-ready',
      endpoints: [{ pod: 'other-pod', ...TERMINATING }, 'remote-pod'],
    },
    rows: [
      row('pod', 'cluster-ip', answered('remote-pod', 'caller')),
      row('node', 'cluster-ip', answered('remote-pod', 'node')),
    ],
  },
  {
    service: {
      name: 'terminating-and-gone',
      endpoints: [
        { pod: 'other-pod', ...GONE },
        { pod: 'remote-pod', ...TERMINATING },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered('remote-pod', 'caller'))],
  },
  {
    service: { name: 'all-gone', endpoints: EVERY_POD.map((pod) => ({ pod, ...GONE })) },
    rows: rows(['pod', 'node'], 'cluster-ip', REJECTED),
  },
  {
    service: {
      name: 'zone-hints',
      endpoints: [
        { pod: 'other-pod', forZones: ['east'] },
        { pod: 'remote-pod', forZones: ['west'] },
      ],
    },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller')),
      row('node', 'cluster-ip', answered('other-pod', 'node')),
    ],
  },
  {
    service: {
      name: 'zone-hints-for-both',
      endpoints: [
        { pod: 'other-pod', forZones: ['east'] },
        { pod: 'remote-pod', forZones: ['west', 'east'] },
        { pod: 'pod', forZones: ['west'] },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
  // One ready endpoint without: hints are of no use.
  {
    service: {
      name: 'zone-hint-missing',
      endpoints: [{ pod: 'other-pod', forZones: ['east'] }, { pod: 'remote-pod' }],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
  {
    service: {
      name: 'zone-hints-elsewhere',
      endpoints: [
        { pod: 'other-pod', forZones: ['west'] },
        { pod: 'remote-pod', forZones: ['south'] },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
  // An unready endpoint's hints do not matter, nor that it has none.
  {
    service: {
      name: 'zone-hint-of-unready',
      endpoints: [
        { pod: 'pod', ...UNREADY },
        { pod: 'other-pod', forZones: ['east'] },
        { pod: 'remote-pod', forZones: ['west'] },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered('other-pod', 'caller'))],
  },
  {
    service: {
      name: 'node-hints',
      endpoints: [
        { pod: 'other-pod', forNodes: ['node'], forZones: ['east'] },
        { pod: 'remote-pod', forNodes: ['other-node'], forZones: ['east'] },
      ],
    },
    rows: [
      row('pod', 'cluster-ip', answered('other-pod', 'caller')),
      row('outside', 'cluster-ip', answered('other-pod', 'node')),
    ],
  },
  {
    service: {
      name: 'node-hints-elsewhere',
      endpoints: [
        { pod: 'other-pod', forNodes: ['third-node'], forZones: ['east'] },
        { pod: 'remote-pod', forNodes: ['other-node'], forZones: ['west'] },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered('other-pod', 'caller'))],
  },
  {
    service: {
      name: 'hints-and-terminating',
      endpoints: [
        { pod: 'other-pod', forZones: ['west'], ...TERMINATING },
        { pod: 'remote-pod', forZones: ['west'], ...TERMINATING },
      ],
    },
    rows: [row('pod', 'cluster-ip', answered(['other-pod', 'remote-pod'], 'caller'))],
  },
];
