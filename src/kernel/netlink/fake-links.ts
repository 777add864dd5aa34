import { Mac } from '../../net/mac.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import { IFF_LOOPBACK, IFF_UP } from './constants.ts';
import type { LinkFacts } from './fake-routes.ts';
import { checkLinkName } from './link-codec.ts';
import type {
  BridgePort,
  IpipAttributes,
  Link,
  LinkChange,
  LinkStats,
  NewLink,
  NewVethPeer,
  VxlanAttributes,
} from './objects.ts';

const NO_STATS: LinkStats = {
  rxPackets: 0,
  txPackets: 0,
  rxBytes: 0,
  txBytes: 0,
  rxErrors: 0,
  txErrors: 0,
  rxDropped: 0,
  txDropped: 0,
};

const NEW_PORT: BridgePort = {
  hairpin: false,
  learning: true,
  unicastFlood: true,
  multicastFlood: true,
  broadcastFlood: true,
  isolated: false,
  neighbourSuppression: false,
  proxyArp: false,
};

/** The links of one namespace of the fake. */
export class FakeLinks implements LinkFacts {
  readonly #links = new Map<number, Link>();
  /** A veth's other end. */
  readonly peers = new Map<number, { readonly links: FakeLinks; readonly index: number }>();
  #nextMac = 1;

  constructor() {
    this.insert({ name: 'lo', mtu: 65536, kind: undefined, mac: new Mac(new Uint8Array(6)), loopback: true });
  }

  list(): Link[] {
    return [...this.#links.values()].map((link) => this.#show(link));
  }

  find(reference: number | string): Link | undefined {
    const found =
      typeof reference === 'number'
        ? this.#links.get(reference)
        : [...this.#links.values()].find((link) => link.name === reference);
    return found && this.#show(found);
  }

  exists(index: number): boolean {
    return this.#links.has(index);
  }

  isUp(index: number): boolean {
    return this.#links.get(index)?.up === true;
  }

  isLoopback(index: number): boolean {
    return this.#links.get(index)?.loopback === true;
  }

  /** Checks and makes the link that was asked for; of a veth, one end. */
  create(wanted: NewLink, doing: string): Link {
    const { master, ...common } = wanted;
    if (wanted.kind === 'vxlan') this.#checkVxlan(wanted.vxlan, doing);
    const link = this.insert({ ...common, mtu: wanted.mtu ?? 1500, loopback: false });
    this.#links.set(link.index, { ...link, ...kindAttributes(wanted) });
    if (master !== undefined) this.setMaster(link.index, master, doing);
    return this.get(link.index, doing);
  }

  insert(wanted: {
    readonly name: string;
    readonly kind: string | undefined;
    readonly mtu: number;
    readonly mac?: Mac;
    readonly up?: boolean;
    readonly alias?: string;
    readonly txQueueLength?: number;
    readonly loopback: boolean;
  }): Link {
    const index = Math.max(0, ...this.#links.keys()) + 1;
    const link: Link = {
      index,
      name: wanted.name,
      mtu: wanted.mtu,
      // An IPIP device has an IP address where others have a MAC.
      ...(wanted.kind === 'ipip' ? {} : { mac: wanted.mac ?? this.#inventMac(index) }),
      up: wanted.up === true,
      operState: 'down',
      flags: 0,
      loopback: wanted.loopback,
      ...(wanted.kind === undefined ? {} : { kind: wanted.kind }),
      ...(wanted.alias === undefined ? {} : { alias: wanted.alias }),
      txQueueLength: wanted.txQueueLength ?? 1000,
      stats: NO_STATS,
    };
    this.#links.set(index, link);
    return link;
  }

  /** Takes in a link that came from another namespace; returns its index here. */
  adopt(link: Link, peer: { readonly links: FakeLinks; readonly index: number } | undefined): number {
    const index = this.exists(link.index) ? Math.max(...this.#links.keys()) + 1 : link.index;
    const { master: _master, port: _port, ...rest } = link;
    this.#links.set(index, { ...rest, index, up: false });
    if (peer !== undefined) {
      this.peers.set(index, peer);
      peer.links.peers.set(peer.index, { links: this, index });
    }
    return index;
  }

  get(index: number, doing: string): Link {
    const link = this.#links.get(index);
    if (link === undefined) throw errnoError(doing, ERRNO.ENODEV);
    return this.#show(link);
  }

  change(index: number, change: LinkChange, doing: string): Link {
    const link = this.get(index, doing);
    if (change.name !== undefined && change.name !== link.name) this.checkName(change.name, doing);
    if (change.master !== undefined) this.setMaster(index, change.master, doing);
    const { netns: _netns, master: _master, addrGenMode: _mode, port, ...values } = change;
    const { ipip } = change;
    if (port !== undefined) this.changePort(index, port, doing);
    if (ipip !== undefined && link.kind !== 'ipip') throw errnoError(doing, ERRNO.EOPNOTSUPP);
    const known = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
    this.#links.set(index, {
      ...(this.#links.get(index) ?? link),
      ...known,
      ...(ipip === undefined ? {} : { ipip: ipipAsKept(ipip) }),
    });
    return this.get(index, doing);
  }

  changePort(index: number, change: Partial<BridgePort>, doing: string): Link {
    const link = this.get(index, doing);
    if (link.port === undefined) throw errnoError(doing, ERRNO.EOPNOTSUPP);
    this.#links.set(index, { ...link, port: { ...link.port, ...change } });
    return this.get(index, doing);
  }

  /** Takes the link out, its ports out of it if it is a bridge; a veth's other end stays for the caller. */
  take(index: number, doing: string): Link {
    const link = this.get(index, doing);
    if (link.loopback) throw errnoError(doing, ERRNO.EOPNOTSUPP);
    this.#links.delete(index);
    for (const port of this.#links.values()) {
      if (port.master === index) this.setMaster(port.index, null, doing);
    }
    return link;
  }

  checkName(name: string, doing: string): void {
    if (this.find(checkLinkName(name)) !== undefined) throw errnoError(doing, ERRNO.EEXIST);
  }

  setMaster(index: number, master: number | null, doing: string): void {
    const { master: _old, port: _port, ...link } = this.get(index, doing);
    if (master === null) {
      this.#links.set(index, link);
      return;
    }
    const bridge = this.#links.get(master);
    // do_set_master of the kernel: EINVAL without such a device, EOPNOTSUPP when it takes no ports.
    if (bridge === undefined) throw errnoError(doing, ERRNO.EINVAL);
    if (bridge.kind !== 'bridge') throw errnoError(doing, ERRNO.EOPNOTSUPP);
    this.#links.set(index, { ...link, master, port: NEW_PORT });
  }

  #checkVxlan(vxlan: Pick<VxlanAttributes, 'vni' | 'port' | 'local'>, doing: string): void {
    // vxlan_vni_in_use of the kernel: devices of the two families do not meet.
    const taken = [...this.#links.values()].some(
      (link) =>
        link.vxlan?.vni === vxlan.vni &&
        link.vxlan.port === vxlan.port &&
        (link.vxlan.local?.family ?? 4) === (vxlan.local?.family ?? 4),
    );
    const words = 'A VXLAN device with the specified VNI already exists';
    if (taken) throw errnoError(doing, ERRNO.EEXIST, words);
  }

  #show(link: Link): Link {
    const peer = this.peers.get(link.index);
    const flags = (link.up ? IFF_UP : 0) | (link.loopback ? IFF_LOOPBACK : 0);
    const elsewhere = peer !== undefined && peer.links !== this;
    return {
      ...link,
      flags,
      operState: this.#operState(link),
      ...(peer === undefined ? {} : { parent: peer.index }),
      ...(elsewhere ? { parentNetnsId: 0 } : {}),
    };
  }

  #operState(link: Link): Link['operState'] {
    if (!link.up) return 'down';
    if (link.kind === 'veth') {
      const peer = this.peers.get(link.index);
      return peer?.links.isUp(peer.index) === true ? 'up' : 'lowerlayerdown';
    }
    if (link.kind !== 'bridge') return 'unknown';
    const ports = [...this.#links.values()].filter((port) => port.master === link.index);
    if (ports.length === 0) return 'down';
    return ports.some((port) => ['up', 'unknown'].includes(this.#operState(port))) ? 'up' : 'down';
  }

  #inventMac(index: number): Mac {
    const serial = this.#nextMac;
    this.#nextMac += 1;
    return new Mac(Uint8Array.of(0x02, 0xfa, 0, serial >> 8, serial & 0xff, index & 0xff));
  }
}

/** Makes both ends of a veth and ties them. */
export function createVeth(
  here: FakeLinks,
  there: FakeLinks,
  wanted: NewLink,
  peer: NewVethPeer,
  doing: string,
): { readonly link: Link; readonly peer: Link } {
  there.checkName(peer.name, doing);
  // The kernel makes the peer first: it has the lower index where both are in one namespace.
  const other = there.insert({ ...peer, kind: 'veth', mtu: peer.mtu ?? wanted.mtu ?? 1500, loopback: false });
  const link = here.create(wanted, doing);
  here.peers.set(link.index, { links: there, index: other.index });
  there.peers.set(other.index, { links: here, index: link.index });
  return { link: here.get(link.index, doing), peer: there.get(other.index, doing) };
}

function kindAttributes(wanted: NewLink): Partial<Link> {
  if (wanted.kind === 'vxlan') return { vxlan: { learning: false, gbp: false, ...wanted.vxlan } };
  if (wanted.kind === 'ipip') return { ipip: ipipAsKept(wanted.ipip) };
  if (wanted.kind !== 'bridge') return {};
  const usual = { stp: false, vlanFiltering: false, multicastSnooping: true, ageingSeconds: 300 };
  return { bridge: { ...usual, ...wanted.bridge } };
}

/** ipip_netlink_parms of the kernel: with a time to live of their own, outer packets must not be divided. */
const ipipAsKept = (wanted: IpipAttributes): IpipAttributes => ({
  ...wanted,
  pmtuDiscovery: wanted.pmtuDiscovery || wanted.ttl !== 0,
});
