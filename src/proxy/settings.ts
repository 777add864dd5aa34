import type { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';

/** How traffic of this node's own pods is told from other traffic (kube-proxy's --detect-local-mode). */
export type LocalTraffic =
  /** Not at all: everything counts as local, nothing is masqueraded for coming from elsewhere. */
  | { readonly kind: 'none' }
  /** By source address: ClusterCIDR and NodeCIDR. */
  | { readonly kind: 'cidrs'; readonly cidrs: readonly Cidr[] }
  /** By the bridge that it comes in by. */
  | { readonly kind: 'bridge'; readonly device: string }
  /** By the beginning of the name of the interface that it comes in by. */
  | { readonly kind: 'interface-prefix'; readonly prefix: string };

/** Addresses of the node on which node ports answer; `all`: whatever addresses it has, loopback apart. */
export type NodePortAddresses = 'all' | readonly Ip[];

/** What every mode needs to know of the node and of how Services are to be served on it. */
export interface ProxySettings {
  /** Families that the node can serve. */
  readonly families: readonly IpFamily[];
  /** The node's InternalIPs. */
  readonly nodeIps: readonly Ip[];
  readonly nodePortAddresses: NodePortAddresses;
  /** Also on 127.0.0.1 (iptables mode, IPv4). */
  readonly localhostNodePorts: boolean;
  readonly localTraffic: LocalTraffic;
  /** Service ranges: packets to addresses there that no Service has are dropped, where the mode does so. */
  readonly serviceCidrs: readonly Cidr[];
  /** Masquerade everything that calls a ClusterIP. */
  readonly masqueradeAll: boolean;
  /** Bit of the packet mark that asks for masquerade; kube-proxy's is 14 (0x4000). */
  readonly masqueradeBit: number;
}
