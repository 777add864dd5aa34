import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import type { FamilyLease } from '../../node-lease.ts';
import type { Backend, LocalFamily, LocalNode, Peer } from '../backend.ts';
import type { Entry } from '../entry.ts';
import { readPublicData, type PublicData } from './public-data.ts';
import type { WireguardSettings } from './settings.ts';

/**
 * Outer IPv6 header 40, UDP 8, WireGuard 32. Over IPv4 it would be 20 less, but flannel always takes this, and nodes
 * with pods of another MTU would send each other packets that do not fit.
 */
const OVERHEAD = 80;

/** Where an address of this kind is, nobody outside can reach it: RFC 1918, and RFC 4193 for IPv6. */
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7'].map((text) => Cidr.parse(text));

/**
 * Pods of other nodes through WireGuard, laid out as flannel does it: the device `flannel-wg` (and `flannel-wg-v6`
 * where each family has its own) has the pod CIDR's first address as a host address, and each node is a peer with its
 * pod CIDRs. The whole cluster's range is routed there besides: what is for a node that is not known yet is dropped,
 * where the default route would send it out unencrypted.
 */
export class WireguardBackend implements Backend {
  readonly type = 'wireguard';
  readonly name = 'wireguard';
  readonly tunnelPorts: readonly number[];
  readonly #settings: WireguardSettings;
  readonly #publicKey: string;

  /** `publicKey`: the node's own, base64. */
  constructor(settings: WireguardSettings, publicKey: string) {
    this.#settings = settings;
    this.#publicKey = publicKey;
    const { listenPort, listenPortV6 } = settings;
    this.tunnelPorts = this.#isSeparate ? [listenPort, listenPortV6] : [listenPort];
  }

  overhead(): number {
    return OVERHEAD;
  }

  /** In the order in which flannel writes the fields. */
  data(_local: LocalFamily, family: IpFamily): unknown {
    return { PublicKey: this.#publicKey, Port: this.#port(family) };
  }

  accepts(): boolean {
    return true;
  }

  planNode(local: LocalNode): Entry[] {
    const entries = new Map<string, Entry>();
    const mtu = local.underlay.mtu - OVERHEAD;
    for (const [family, { podCidr, network }] of local.families) {
      const device = this.#device(family);
      const port = this.#port(family);
      entries.set(device, {
        kind: 'link',
        type: 'wireguard',
        device,
        mtu,
        port,
        publicKey: this.#publicKey,
      });
      // A host prefix, so that no route for the pod CIDR appears that would compete with the bridge's.
      const address = new Cidr(podCidr.first, family === 4 ? 32 : 128);
      entries.set(`address ${family}`, { kind: 'address', device, address });
      entries.set(`route ${family}`, { kind: 'route', device, destination: network, onlink: false });
    }
    return [...entries.values()];
  }

  planPeer(local: LocalNode, family: IpFamily, peer: Peer): Entry[] {
    const device = this.#device(family);
    const outer = this.#isSeparate ? family : this.#outerFamily(local, peer);
    const endpoint = peer.families.get(outer)?.publicIp;
    if (endpoint === undefined) {
      throw new FlatnetError(
        `node ${peer.node} has no IPv${outer} address, but this node has network.Backend.Mode ${this.#settings.mode}`,
        { code: 'NO_ENDPOINT', hint: 'choose a Mode of which all nodes have addresses' },
      );
    }
    const { publicKey } = this.#read(peer, peer.data);
    const { port = this.#port(outer) } = this.#read(peer, peer.offer.data.get(outer) ?? peer.data);
    return [
      {
        kind: 'wireguard-peer',
        device,
        publicKey,
        endpoint,
        port,
        allowed: this.#isSeparate ? [peer.podCidr] : reachable(local, peer.families),
        keepalive: this.#settings.keepalive,
      },
      { kind: 'route', device, destination: peer.podCidr, onlink: false },
    ];
  }

  get #isSeparate(): boolean {
    return this.#settings.mode === 'separate';
  }

  #device(family: IpFamily): string {
    return this.#isSeparate && family === 6 ? 'flannel-wg-v6' : 'flannel-wg';
  }

  #port(family: IpFamily): number {
    const { listenPort, listenPortV6 } = this.#settings;
    return this.#isSeparate && family === 6 ? listenPortV6 : listenPort;
  }

  /** Which family carries the tunnel where one serves both: IPv4, unless only IPv6 leads out of private networks. */
  #outerFamily(local: LocalNode, { families }: Peer): IpFamily {
    const { mode } = this.#settings;
    if (mode === 'ipv4') return 4;
    if (mode === 'ipv6') return 6;
    const there4 = families.get(4)?.publicIp;
    const there6 = families.get(6)?.publicIp;
    const here6 = local.families.get(6)?.ip;
    if (there4 === undefined || local.families.get(4) === undefined) return 6;
    const isOnly6Public = isPrivate(there4) && isPublic(there6) && isPublic(here6);
    return isOnly6Public ? 6 : 4;
  }

  #read({ node }: Peer, data: unknown): PublicData {
    try {
      const read = readPublicData(data);
      if (read.publicKey !== this.#publicKey) return read;
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      throw new FlatnetError(`node ${node}: ${error.message}`, {
        code: error.code,
        cause: error,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
    throw new FlatnetError(`node ${node} has the WireGuard key of this node`, {
      code: 'DUPLICATE_WIREGUARD_KEY',
      hint: 'its machine was copied: delete the key file on one of the two and start its agent anew',
    });
  }
}

/** The pod CIDRs of a peer that has one device for both families; one that meets ours is reported elsewhere. */
function reachable(local: LocalNode, families: ReadonlyMap<IpFamily, FamilyLease>): Cidr[] {
  const found: Cidr[] = [];
  for (const family of [4, 6] as const) {
    const here = local.families.get(family)?.podCidr;
    const there = families.get(family)?.podCidr;
    if (here !== undefined && there !== undefined && !here.overlaps(there)) found.push(there);
  }
  return found;
}

const isPrivate = (ip: Ip): boolean => PRIVATE.some((range) => range.contains(ip));
const isPublic = (ip: Ip | undefined): boolean => ip !== undefined && !isPrivate(ip);
