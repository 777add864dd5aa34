import { Cidr } from '../../../../src/net/cidr.ts';
import { Ip } from '../../../../src/net/ip.ts';
import type { ProxySettings } from '../../../../src/proxy/settings.ts';
import { answered, DROPPED, REJECTED, row, rows, type Topic } from '../row.ts';
import { ADDRESSES } from '../topology.ts';
import { EVERY_POD, PODS_HERE } from './cluster-ip.ts';

export const DEFAULT_SETTINGS: ProxySettings = {
  families: [4, 6],
  nodeIps: [Ip.parse(ADDRESSES[4].node), Ip.parse(ADDRESSES[6].node)],
  nodePortAddresses: [Ip.parse(ADDRESSES[4].node), Ip.parse(ADDRESSES[6].node)],
  localhostNodePorts: false,
  localTraffic: {
    kind: 'cidrs',
    cidrs: [Cidr.parse('10.244.0.0/16'), Cidr.parse('fd00:10:244::/56')],
  },
  serviceCidrs: [Cidr.parse('10.96.0.0/16'), Cidr.parse('fd00:10:96::/112')],
  masqueradeAll: false,
  masqueradeBit: 14,
};

/** Topics under other settings than the usual ones. */
export interface Variant {
  readonly name: string;
  readonly settings: Partial<ProxySettings>;
  readonly topics: readonly Topic[];
}

const LOCALHOST =
  'only the iptables mode, and only in IPv4, can route packets of 127.0.0.1 off the loopback device';

/** Traffic of this node's own pods is told by where it comes in: pods of other nodes count as from outside. */
const TOLD_BY_ARRIVAL: readonly Topic[] = [
  {
    service: { name: 'web', endpoints: PODS_HERE },
    rows: [
      row('pod', 'cluster-ip', answered(PODS_HERE, 'caller')),
      ...rows(['remote-pod', 'outside', 'node'], 'cluster-ip', answered(PODS_HERE, 'node')),
    ],
  },
  {
    service: { name: 'local', type: 'NodePort', externalLocal: true, endpoints: ['pod', 'remote-pod'] },
    rows: [
      row('other-pod', 'node-port', answered(['pod', 'remote-pod'], 'caller')),
      ...rows(['remote-pod', 'outside'], 'node-port', answered('pod', 'caller')),
      row('node', 'node-port', answered(['pod', 'remote-pod'], 'node')),
    ],
  },
  {
    service: { name: 'local-none-here', type: 'NodePort', externalLocal: true, endpoints: ['remote-pod'] },
    rows: [row('outside', 'node-port', DROPPED), row('pod', 'node-port', answered('remote-pod', 'caller'))],
  },
];

export const VARIANTS: readonly Variant[] = [
  {
    name: 'masquerade-all',
    settings: { masqueradeAll: true },
    topics: [
      {
        service: { name: 'web', endpoints: EVERY_POD },
        rows: rows(['pod', 'remote-pod', 'outside', 'node'], 'cluster-ip', answered(EVERY_POD, 'node')),
      },
      {
        service: { name: 'udp', ports: [{ port: 53, protocol: 'UDP' }], endpoints: EVERY_POD },
        rows: [row('pod', 'cluster-ip', answered(EVERY_POD, 'node'))],
      },
      {
        service: { name: 'local', type: 'NodePort', externalLocal: true, endpoints: ['pod', 'remote-pod'] },
        rows: [row('outside', 'node-port', answered('pod', 'caller'))],
      },
    ],
  },
  {
    name: 'detect local: NodeCIDR',
    settings: {
      localTraffic: {
        kind: 'cidrs',
        cidrs: [Cidr.parse('10.244.1.0/24'), Cidr.parse('fd00:10:244:1::/64')],
      },
    },
    topics: TOLD_BY_ARRIVAL,
  },
  {
    name: 'detect local: BridgeInterface',
    settings: { localTraffic: { kind: 'bridge', device: 'cni0' } },
    topics: TOLD_BY_ARRIVAL,
  },
  {
    name: 'detect local: InterfaceNamePrefix',
    settings: { localTraffic: { kind: 'interface-prefix', prefix: 'cni' } },
    topics: TOLD_BY_ARRIVAL,
  },
  {
    name: 'detect local: not at all',
    settings: { localTraffic: { kind: 'none' } },
    topics: [
      {
        service: { name: 'web', endpoints: PODS_HERE },
        rows: rows(['pod', 'remote-pod', 'outside'], 'cluster-ip', answered(PODS_HERE, 'caller')),
      },
      // Nobody is known to be a pod: only the node itself reaches endpoints elsewhere.
      {
        service: { name: 'local', type: 'NodePort', externalLocal: true, endpoints: ['pod', 'remote-pod'] },
        rows: [
          ...rows(['other-pod', 'outside'], 'node-port', answered('pod', 'caller')),
          row('node', 'node-port', answered(['pod', 'remote-pod'], 'node')),
        ],
      },
    ],
  },
  {
    name: 'node ports on all addresses',
    settings: { nodePortAddresses: 'all', localhostNodePorts: true },
    topics: [
      {
        service: { name: 'everywhere', type: 'NodePort', endpoints: EVERY_POD },
        rows: [
          ...rows(['outside', 'pod', 'node'], 'node-port', answered(EVERY_POD, 'node')),
          ...rows(['outside', 'node'], 'node-port at second address', answered(EVERY_POD, 'node')),
          ...rows(['outside', 'pod', 'node'], 'node-port at bridge', answered(EVERY_POD, 'node')),
          row('node', 'node-port at loopback', answered(EVERY_POD, 'node'), {
            families: [4],
            except: {
              nftables: { reason: LOCALHOST, instead: REJECTED },
              ipvs: { reason: LOCALHOST, instead: REJECTED },
            },
          }),
          row('node', 'node-port at loopback', REJECTED, { families: [6] }),
        ],
      },
      {
        service: { name: 'nobody', type: 'NodePort', endpoints: [] },
        rows: rows(['outside', 'node'], 'node-port at second address', REJECTED),
      },
    ],
  },
  {
    name: 'another mark bit',
    settings: { masqueradeBit: 21 },
    topics: [
      {
        service: { name: 'web', type: 'NodePort', endpoints: EVERY_POD },
        rows: [
          row('outside', 'node-port', answered(EVERY_POD, 'node')),
          row('pod', 'cluster-ip', answered(EVERY_POD, 'caller')),
        ],
      },
    ],
  },
];
