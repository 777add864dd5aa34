import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { IpFamily } from '../../../net/ip.ts';
import { isOnLink, type Backend, type LocalNode, type Peer } from '../backend.ts';
import type { Entry } from '../entry.ts';

/** Pods of other nodes by plain routes to those nodes: no encapsulation, but every node must be on one subnet. */
export class HostGwBackend implements Backend {
  readonly type = 'host-gw';
  readonly name = 'host-gw';
  readonly tunnelPorts = [];

  overhead(): number {
    return 0;
  }

  data(): null {
    return null;
  }

  accepts(): boolean {
    return true;
  }

  planNode(): Entry[] {
    return [];
  }

  planPeer({ underlay }: LocalNode, _family: IpFamily, { node, podCidr, publicIp }: Peer): Entry[] {
    const { device, onLink } = underlay;
    if (!isOnLink(underlay, publicIp)) {
      throw new FlatnetError(
        `node ${node}: ${publicIp.toString()} is not on a subnet of ${device} (${onLink.map(String).join(', ')}): host-gw cannot reach it`,
        {
          code: 'PEER_NOT_ON_LINK',
          hint: 'use network.Backend.Type vxlan with DirectRouting for nodes on several subnets',
        },
      );
    }
    return [{ kind: 'route', device, destination: podCidr, via: publicIp, onlink: false }];
  }
}
