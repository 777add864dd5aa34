import type { Cidr } from '../../net/cidr.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';

// The objects of rtnetlink(7). Links are named by their index everywhere: names change, indexes do not.

/** RFC 2863 ifOperStatus, in the words of `ip link`. */
export type OperState = 'unknown' | 'notpresent' | 'down' | 'lowerlayerdown' | 'testing' | 'dormant' | 'up';

export interface LinkStats {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly rxErrors: number;
  readonly txErrors: number;
  readonly rxDropped: number;
  readonly txDropped: number;
}

export interface VxlanAttributes {
  readonly vni: number;
  /** Source address of the outer packets. */
  readonly local?: Ip;
  /** Index of the underlay link. */
  readonly parent?: number;
  /** UDP destination port. The kernel's own default is 8472, IANA's is 4789. */
  readonly port: number;
  readonly learning: boolean;
  /** Group based policy extension. */
  readonly gbp: boolean;
}

/** An IPv4 in IPv4 tunnel (RFC 2003). */
export interface IpipAttributes {
  /** Source of the outer packets; absent: any. */
  readonly local?: Ip;
  /** Absent: the gateway of the route that leads into the tunnel. */
  readonly remote?: Ip;
  /** Index of the link that the outer packets have to leave by; absent: as they are routed. */
  readonly parent?: number;
  /** Of the outer packets; 0: that of the inner. Any other switches `pmtuDiscovery` on. */
  readonly ttl: number;
  /** Outer packets must not be divided, whatever the inner ones say. When off, they are as the inner ones. */
  readonly pmtuDiscovery: boolean;
}

export interface BridgeAttributes {
  readonly stp: boolean;
  readonly vlanFiltering: boolean;
  readonly multicastSnooping: boolean;
  readonly ageingSeconds: number;
}

/** Flags of a bridge's port. */
export interface BridgePort {
  /** Frames may leave through the port that they came in by: a pod that reaches itself through a Service. */
  readonly hairpin: boolean;
  readonly learning: boolean;
  readonly unicastFlood: boolean;
  readonly multicastFlood: boolean;
  readonly broadcastFlood: boolean;
  readonly isolated: boolean;
  readonly neighbourSuppression: boolean;
  readonly proxyArp: boolean;
}

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu: number;
  /** IFF_UP: switched on by the administrator. `operState` tells whether it carries traffic. */
  readonly up: boolean;
  readonly operState: OperState;
  /** The raw IFF_ flags. */
  readonly flags: number;
  readonly loopback: boolean;
  /** `veth`, `bridge`, `vxlan`, …; absent for real devices and the loopback. */
  readonly kind?: string;
  /** Index of the bridge (or other master) that the link is a port of. */
  readonly master?: number;
  /** IFLA_LINK: a veth's peer, a tunnel's underlay link; of another namespace where `parentNetnsId` is set. */
  readonly parent?: number;
  readonly parentNetnsId?: number;
  readonly alias?: string;
  readonly txQueueLength: number;
  readonly vxlan?: VxlanAttributes;
  readonly ipip?: IpipAttributes;
  readonly bridge?: BridgeAttributes;
  /** Present for ports of a bridge. */
  readonly port?: BridgePort;
  readonly stats: LinkStats;
}

interface NewLinkBase {
  /** At most 15 bytes (IFNAMSIZ). */
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly up?: boolean;
  /** Index of the bridge. */
  readonly master?: number;
  readonly alias?: string;
  readonly txQueueLength?: number;
  /** Descriptor of the network namespace in which the link is made; that of the kernel object when absent. */
  readonly netns?: number;
}

export interface NewVethPeer {
  readonly name: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly up?: boolean;
  /** Descriptor of the network namespace in which the peer is made. */
  readonly netns?: number;
}

interface NewVeth extends NewLinkBase {
  readonly kind: 'veth';
  readonly peer: NewVethPeer;
}

interface NewBridge extends NewLinkBase {
  readonly kind: 'bridge';
  readonly bridge?: Partial<BridgeAttributes>;
}

interface NewVxlan extends NewLinkBase {
  readonly kind: 'vxlan';
  /** `learning` and `gbp` are off when absent. */
  readonly vxlan: Pick<VxlanAttributes, 'vni' | 'port'> & Partial<VxlanAttributes>;
}

interface NewIpip extends NewLinkBase {
  readonly kind: 'ipip';
  readonly ipip: IpipAttributes;
}

/** Kinds that have nothing to say here: what a WireGuard device needs goes through generic netlink. */
interface NewPlain extends NewLinkBase {
  readonly kind: 'dummy' | 'ifb' | 'wireguard';
}

export type NewLink = NewVeth | NewBridge | NewVxlan | NewIpip | NewPlain;

export interface LinkChange {
  /** Renames; a link that is up may be refused (EBUSY). */
  readonly name?: string;
  readonly mac?: Mac;
  readonly mtu?: number;
  readonly up?: boolean;
  /** Index of the bridge, null to leave the present one. */
  readonly master?: number | null;
  readonly alias?: string;
  readonly txQueueLength?: number;
  /** Whether it makes itself a link-local IPv6 address when it comes up. EAFNOSUPPORT where there is no IPv6. */
  readonly addrGenMode?: 'eui64' | 'none';
  /** Of a port of a bridge, which it must be already. */
  readonly port?: Partial<BridgePort>;
  /** Of an IPIP tunnel, which must be one: all of them anew. */
  readonly ipip?: IpipAttributes;
  /** Moves the link into this network namespace (descriptor). It arrives down, without addresses and routes. */
  readonly netns?: number;
}

/** An address of a link. */
export interface Address {
  /** Index. */
  readonly link: number;
  readonly ip: Ip;
  readonly prefixLength: number;
  /** Scope of rtnetlink(7): 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** The other end of a point-to-point link. */
  readonly peer?: Ip;
  readonly broadcast?: Ip;
  readonly label?: string;
  /** IFA_F_ flags. */
  readonly flags: number;
  /** IPv6: duplicate address detection has not ended yet, the address cannot be used. */
  readonly tentative: boolean;
}

export interface NewAddress {
  readonly link: number;
  readonly ip: Ip;
  readonly prefixLength: number;
  readonly scope?: number;
  readonly peer?: Ip;
  /** IPv4; absent: none, as with `ip address add` without `brd`. */
  readonly broadcast?: Ip;
  readonly label?: string;
  /** IPv6: usable at once, without duplicate address detection. */
  readonly noDad?: boolean;
  /** No route for the prefix is made. */
  readonly noPrefixRoute?: boolean;
}

export type AddressKey = Pick<NewAddress, 'link' | 'ip' | 'prefixLength' | 'peer'>;

export type RouteType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw';

export interface NextHop {
  readonly link?: number;
  /** May be of the other family (RFC 5549: IPv4 by way of an IPv6 router). */
  readonly gateway?: Ip;
  /** The gateway is reachable on the link even if no prefix there covers it. */
  readonly onlink?: boolean;
  /** Share of the traffic, 1 to 256. */
  readonly weight?: number;
}

export interface Route {
  /** 0.0.0.0/0 or ::/0 is the default route. */
  readonly destination: Cidr;
  readonly type: RouteType;
  /** 254 main, 255 local. */
  readonly table: number;
  /** Who made it (rtm_protocol): 2 kernel, 3 boot, 4 static; others as in /etc/iproute2/rt_protos. */
  readonly protocol: number;
  /** rtm_scope: 0 global, 253 link, 254 host. IPv6 has none: always 0. */
  readonly scope: number;
  /** Index of the outgoing link. */
  readonly link?: number;
  readonly gateway?: Ip;
  readonly onlink: boolean;
  /** Preferred source address. */
  readonly source?: Ip;
  /** Priority: the smallest wins. IPv4 without one has none; the kernel gives IPv6 routes 1024. */
  readonly metric?: number;
  readonly mtu?: number;
  /** Multipath: two or more. */
  readonly nextHops?: readonly NextHop[];
  /** RTNH_F_DEAD or RTNH_F_LINKDOWN: the link is down, the route is not used. */
  readonly dead: boolean;
}

export interface NewRoute {
  readonly destination: Cidr;
  /** `unicast` when absent. */
  readonly type?: RouteType;
  /** Main (254) when absent. */
  readonly table?: number;
  /** Static (4) when absent: give your own. */
  readonly protocol?: number;
  /** As `ip route` derives it when absent: link for routes without gateway, host for local ones, else global. */
  readonly scope?: number;
  readonly link?: number;
  readonly gateway?: Ip;
  readonly onlink?: boolean;
  readonly source?: Ip;
  readonly metric?: number;
  readonly mtu?: number;
  readonly nextHops?: readonly NextHop[];
}

/** What names a route for deletion; the first that matches everything given goes. */
export type RouteKey = Pick<
  NewRoute,
  'destination' | 'type' | 'table' | 'protocol' | 'scope' | 'link' | 'gateway' | 'onlink' | 'metric'
>;

export type NeighbourState =
  | 'none'
  | 'incomplete'
  | 'reachable'
  | 'stale'
  | 'delay'
  | 'probe'
  | 'failed'
  | 'noarp'
  | 'permanent';

/** An entry of the ARP or NDP table. */
export interface Neighbour {
  readonly link: number;
  readonly ip: Ip;
  /** Absent while it is being resolved and for proxy entries. */
  readonly mac?: Mac;
  readonly state: NeighbourState;
  /** This machine answers for the address (`ip neigh add proxy`). */
  readonly proxy: boolean;
}

export interface NewNeighbour {
  readonly link: number;
  readonly ip: Ip;
  readonly mac?: Mac;
  /** `permanent` when absent. */
  readonly state?: NeighbourState;
  readonly proxy?: boolean;
}

export type NeighbourKey = Pick<NewNeighbour, 'link' | 'ip' | 'proxy'>;

/** An entry of a bridge's or VXLAN device's forwarding table. */
export interface FdbEntry {
  /** The bridge's port, or the VXLAN device. */
  readonly link: number;
  readonly mac: Mac;
  /** VXLAN: the tunnel end behind which the MAC lives. */
  readonly destination?: Ip;
  /** Index of the bridge, for entries that live in a bridge's table. */
  readonly master?: number;
  /** NTF_SELF: the entry is the device's own (VXLAN). */
  readonly self: boolean;
  readonly state: NeighbourState;
  readonly vlan?: number;
}

export interface NewFdbEntry {
  readonly link: number;
  readonly mac: Mac;
  readonly destination?: Ip;
  /** `self` (the device's own table, for VXLAN) or `master` (the bridge's). `self` when absent. */
  readonly table?: 'self' | 'master';
  /**
   * `permanent` when absent. In a bridge's table that means an address of the bridge itself; `noarp` is what
   * `bridge fdb` calls static: behind the port, and not aged.
   */
  readonly state?: NeighbourState;
}

export type FdbKey = Pick<NewFdbEntry, 'link' | 'mac' | 'destination' | 'table'>;

export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit';

/** A rule of policy routing (ip-rule(8)). */
export interface Rule {
  readonly family: IpFamily;
  /** The smallest is looked at first. */
  readonly priority: number;
  readonly action: RuleAction;
  readonly table: number;
  readonly source?: Cidr;
  readonly destination?: Cidr;
  readonly mark?: number;
  readonly mask?: number;
  readonly inputLink?: string;
  readonly outputLink?: string;
  readonly invert: boolean;
  readonly suppressPrefixLength?: number;
  /** As of routes: who made it. */
  readonly protocol: number;
}

export type NewRule = Pick<Rule, 'family' | 'priority'> & Partial<Rule>;

/** One change that the kernel tells. `resync`: events were lost, read everything again. */
export type RouteEvent =
  | { readonly kind: 'link'; readonly action: 'set' | 'delete'; readonly link: Link }
  | { readonly kind: 'address'; readonly action: 'set' | 'delete'; readonly address: Address }
  | { readonly kind: 'route'; readonly action: 'set' | 'delete'; readonly route: Route }
  | { readonly kind: 'neighbour'; readonly action: 'set' | 'delete'; readonly neighbour: Neighbour }
  | { readonly kind: 'fdb'; readonly action: 'set' | 'delete'; readonly entry: FdbEntry }
  | { readonly kind: 'rule'; readonly action: 'set' | 'delete'; readonly rule: Rule }
  | { readonly kind: 'resync'; readonly reason: string };

/** Groups of events; `neighbour` also brings `fdb`. */
export type RouteEventGroup = 'link' | 'address' | 'route' | 'neighbour' | 'rule';
