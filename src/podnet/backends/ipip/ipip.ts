import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { isOnLink, type Backend, type LocalNode, type Peer } from '../backend.ts';
import { directRoute } from '../direct-route.ts';
import type { Entry } from '../entry.ts';
import type { IpipSettings } from './settings.ts';

const DEVICE = 'flannel.ipip';
/** The outer IPv4 header (RFC 2003). */
const OVERHEAD = 20;

/**
 * Pods of other nodes through IPv4 in IPv4, laid out as flannel does it: one device for all peers, with the pod CIDR's
 * first address as a host address; each peer's pod CIDR is routed into it by way of the peer's address on the
 * underlay, which becomes the destination of the outer packet. Nothing else is needed of a peer: its lease has no data.
 */
export class IpipBackend implements Backend {
  readonly type = 'ipip';
  readonly name = 'ipip';
  readonly tunnelPorts: readonly number[] = [];
  readonly #settings: IpipSettings;

  constructor(settings: IpipSettings) {
    this.#settings = settings;
  }

  overhead(): number {
    return OVERHEAD;
  }

  data(): null {
    return null;
  }

  accepts(): boolean {
    return true;
  }

  planNode({ families, underlay }: LocalNode): Entry[] {
    const local = families.get(4);
    if (local === undefined) return [];
    return [
      { kind: 'link', type: 'ipip', device: DEVICE, local: local.ip, mtu: underlay.mtu - OVERHEAD },
      // A host prefix, so that no route for the pod CIDR appears that would compete with the bridge's.
      { kind: 'address', device: DEVICE, address: new Cidr(local.podCidr.first, 32) },
    ];
  }

  planPeer(local: LocalNode, family: IpFamily, peer: Peer): Entry[] {
    const { node, podCidr, publicIp } = peer;
    if (family === 6) {
      throw new FlatnetError(`node ${node}: its IPv6 pods cannot be reached: ipip carries IPv4 only`, {
        code: 'FAMILY_NOT_CARRIED',
        hint: 'set network.EnableIPv6 to false, or choose network.Backend.Type vxlan or wireguard',
      });
    }
    if (this.#settings.directRouting && isOnLink(local.underlay, publicIp)) {
      return [directRoute(this, local, peer)];
    }
    return [{ kind: 'route', device: DEVICE, destination: podCidr, via: publicIp, onlink: true }];
  }
}
