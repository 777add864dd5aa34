import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { Offer } from '../../node-lease.ts';
import { isOnLink, type Backend, type LocalFamily, type LocalNode, type Peer } from '../backend.ts';
import { directRoute } from '../direct-route.ts';
import type { Entry } from '../entry.ts';
import { hasChecksumFault } from './checksum-offload.ts';
import type { VxlanSettings } from './settings.ts';
import { readVtep, type Vtep } from './vtep.ts';

/** Inner Ethernet 14, VXLAN 8, UDP 8 and the outer IP header of 20 or 40 bytes (RFC 7348, section 5). */
const OVERHEAD: Readonly<Record<IpFamily, number>> = { 4: 50, 6: 70 };

/**
 * Pods of other nodes through VXLAN, laid out as flannel does it: the device `flannel.<VNI>` (`flannel-v6.<VNI>`)
 * has the pod CIDR's first address as a host address; each peer's pod CIDR is routed to its first address, whose MAC
 * is a permanent neighbour, which a forwarding entry leads to the peer's address on the underlay.
 */
export class VxlanBackend implements Backend {
  readonly type = 'vxlan';
  readonly name: string;
  readonly tunnelPorts: readonly number[];
  readonly #settings: VxlanSettings;
  readonly #checksumOffload: boolean;

  /** `kernelRelease` as uname(2) tells it: some need help. */
  constructor(settings: VxlanSettings, kernelRelease: string) {
    this.#settings = settings;
    this.#checksumOffload = settings.txChecksumOffload ?? !hasChecksumFault(kernelRelease);
    this.name = `vxlan ${settings.vni}`;
    this.tunnelPorts = [settings.port];
  }

  overhead(family: IpFamily): number {
    return OVERHEAD[family];
  }

  /** In the order in which flannel writes the fields. */
  data({ vtepMac }: LocalFamily): unknown {
    return { VNI: this.#settings.vni, VtepMAC: vtepMac.toString() };
  }

  accepts(offer: Offer): boolean {
    return [...offer.data.values()].every((data) => {
      const vni = vniOf(data);
      return vni === undefined || vni === this.#settings.vni;
    });
  }

  planNode(local: LocalNode): Entry[] {
    const entries: Entry[] = [];
    for (const [family, { podCidr, ip, vtepMac }] of local.families) {
      const device = this.#device(family);
      entries.push({
        kind: 'link',
        type: 'vxlan',
        device,
        vni: this.#settings.vni,
        port: this.#settings.port,
        local: ip,
        underlay: local.underlay.device,
        mtu: local.underlay.mtu - OVERHEAD[family],
        mac: vtepMac,
        learning: this.#settings.learning,
        gbp: this.#settings.gbp,
        checksumOffload: this.#checksumOffload,
      });
      // A host prefix, so that no route for the pod CIDR appears that would compete with the bridge's.
      entries.push({ kind: 'address', device, address: new Cidr(podCidr.first, family === 4 ? 32 : 128) });
    }
    return entries;
  }

  planPeer(local: LocalNode, family: IpFamily, peer: Peer): Entry[] {
    const { podCidr, publicIp } = peer;
    if (this.#settings.directRouting && isOnLink(local.underlay, publicIp)) {
      return [directRoute(this, local, peer)];
    }
    const { mac } = this.#vtepOf(peer);
    const device = this.#device(family);
    const router = podCidr.first;
    return [
      { kind: 'neighbour', device, ip: router, mac },
      { kind: 'fdb', device, mac, via: publicIp },
      { kind: 'route', device, destination: podCidr, via: router, onlink: true },
    ];
  }

  #vtepOf({ node, data }: Peer): Vtep {
    try {
      return readVtep(data);
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      throw new FlatnetError(`node ${node}: ${error.message}`, {
        code: error.code,
        cause: error,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      });
    }
  }

  #device(family: IpFamily): string {
    return `flannel${family === 4 ? '' : '-v6'}.${this.#settings.vni}`;
  }
}

function vniOf(data: unknown): number | undefined {
  try {
    return readVtep(data).vni;
  } catch {
    return undefined;
  }
}
