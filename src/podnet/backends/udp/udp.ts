import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { Backend, LocalNode, Peer } from '../backend.ts';
import type { Entry } from '../entry.ts';
import type { UdpSettings } from './settings.ts';

/** What flannel's `flannel%d` comes to on a node with one flannel. */
const DEVICE = 'flannel0';
/** The outer IPv4 header and that of UDP. */
const OVERHEAD = 28;

/**
 * Pods of other nodes through UDP in user space, as flannel does it: a TUN device with the pod CIDR's first address,
 * to which the whole pod network is routed, and a worker that sends each packet as it is to the port of the node it
 * belongs to. For pods that no node has the worker answers "unreachable". A lease has no data: all nodes use one port.
 */
export class UdpBackend implements Backend {
  readonly type = 'udp';
  readonly name: string;
  readonly tunnelPorts: readonly number[];
  readonly #port: number;

  constructor({ port }: UdpSettings) {
    this.#port = port;
    this.name = `udp ${port}`;
    this.tunnelPorts = [port];
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
    const { ip, podCidr, network } = local;
    const mtu = underlay.mtu - OVERHEAD;
    return [
      { kind: 'link', type: 'udp', device: DEVICE, port: this.#port, local: ip, mtu },
      // A host prefix, so that no route for the pod CIDR appears that would compete with the bridge's.
      { kind: 'address', device: DEVICE, address: new Cidr(podCidr.first, 32) },
      { kind: 'route', device: DEVICE, destination: network, onlink: false },
    ];
  }

  /** The route of its own lets a node change over from or to another backend without a gap. */
  planPeer(_local: LocalNode, family: IpFamily, { node, podCidr, publicIp }: Peer): Entry[] {
    if (family === 6) {
      throw new FlatnetError(`node ${node}: its IPv6 pods cannot be reached: udp carries IPv4 only`, {
        code: 'FAMILY_NOT_CARRIED',
        hint: 'set network.EnableIPv6 to false, or choose network.Backend.Type vxlan or wireguard',
      });
    }
    return [
      { kind: 'udp-peer', device: DEVICE, podCidr, via: publicIp, port: this.#port },
      { kind: 'route', device: DEVICE, destination: podCidr, onlink: false },
    ];
  }
}
