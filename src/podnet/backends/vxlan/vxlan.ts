import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { VxlanSettings } from '../../network-config.ts';
import type { FamilyLease, NodeLease } from '../../node-lease.ts';
import {
  isOnLink,
  planFamilies,
  type Backend,
  type LocalFamily,
  type LocalNode,
  type PeerPlan,
} from '../backend.ts';
import type { Entry } from '../entry.ts';

/** Inner Ethernet 14, VXLAN 8, UDP 8 and the outer IP header of 20 or 40 bytes (RFC 7348, section 5). */
const OVERHEAD: Readonly<Record<IpFamily, number>> = { 4: 50, 6: 70 };

/**
 * Pods of other nodes through VXLAN, laid out as flannel does it: the device `flannel.<VNI>` (`flannel-v6.<VNI>`)
 * has the pod CIDR's first address as a host address; each peer's pod CIDR is routed to its first address, whose MAC
 * is a permanent neighbour, which a forwarding entry leads to the peer's address on the underlay.
 */
export class VxlanBackend implements Backend {
  readonly type = 'vxlan';
  readonly #settings: VxlanSettings;

  constructor(settings: VxlanSettings) {
    this.#settings = settings;
  }

  overhead(family: IpFamily): number {
    return OVERHEAD[family];
  }

  vtep(local: LocalFamily): FamilyLease['vtep'] {
    return { vni: this.#settings.vni, mac: local.vtepMac };
  }

  planNode(local: LocalNode): Entry[] {
    const entries: Entry[] = [];
    for (const [family, { podCidr, ip, vtepMac }] of local.families) {
      const device = this.#device(family);
      entries.push({
        kind: 'link',
        device,
        vni: this.#settings.vni,
        port: this.#settings.port,
        local: ip,
        underlay: local.underlay.device,
        mtu: local.underlay.mtu - OVERHEAD[family],
        mac: vtepMac,
      });
      // A host prefix, so that no route for the pod CIDR appears that would compete with the bridge's.
      entries.push({ kind: 'address', device, address: new Cidr(podCidr.first, family === 4 ? 32 : 128) });
    }
    return entries;
  }

  planPeer(local: LocalNode, peer: NodeLease): PeerPlan {
    return planFamilies(this.type, local, peer, (family, _here, there) => {
      if (this.#settings.directRouting && isOnLink(local.underlay, there.publicIp)) {
        const { device } = local.underlay;
        return [{ kind: 'route', device, destination: there.podCidr, via: there.publicIp, onlink: false }];
      }
      return this.#tunnel(family, peer.node, there);
    });
  }

  #tunnel(family: IpFamily, node: string, { podCidr, publicIp, vtep }: FamilyLease): Entry[] {
    if (vtep === undefined) {
      throw new FlatnetError(`node ${node} publishes no VTEP MAC`, { code: 'INVALID_NODE_ANNOTATION' });
    }
    if (vtep.vni !== undefined && vtep.vni !== this.#settings.vni) {
      throw new FlatnetError(
        `node ${node}: its annotation says VNI ${vtep.vni}, but this node has network.Backend.VNI ${this.#settings.vni}`,
        { code: 'VNI_MISMATCH', hint: 'give all nodes the same network.Backend.VNI' },
      );
    }
    const device = this.#device(family);
    const router = podCidr.first;
    return [
      { kind: 'neighbour', device, ip: router, mac: vtep.mac },
      { kind: 'fdb', device, mac: vtep.mac, via: publicIp },
      { kind: 'route', device, destination: podCidr, via: router, onlink: true },
    ];
  }

  #device(family: IpFamily): string {
    return `flannel${family === 4 ? '' : '-v6'}.${this.#settings.vni}`;
  }
}
