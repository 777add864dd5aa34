import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { NodeLease } from '../../node-lease.ts';
import { isOnLink, planFamilies, type Backend, type LocalNode, type PeerPlan } from '../backend.ts';
import type { Entry } from '../entry.ts';

/** Pods of other nodes by plain routes to those nodes: no encapsulation, but every node must be on one subnet. */
export class HostGwBackend implements Backend {
  readonly type = 'host-gw';

  overhead(): number {
    return 0;
  }

  vtep(): undefined {
    return undefined;
  }

  planNode(): Entry[] {
    return [];
  }

  planPeer(local: LocalNode, peer: NodeLease): PeerPlan {
    return planFamilies(this.type, local, peer, (_family, _here, { podCidr, publicIp }) => {
      const { device, onLink } = local.underlay;
      if (!isOnLink(local.underlay, publicIp)) {
        throw new FlatnetError(
          `node ${peer.node}: ${publicIp.toString()} is not on a subnet of ${device} (${onLink.map(String).join(', ')}): host-gw cannot reach it`,
          {
            code: 'PEER_NOT_ON_LINK',
            hint: 'use network.Backend.Type vxlan with DirectRouting for nodes on several subnets',
          },
        );
      }
      return [{ kind: 'route', device, destination: podCidr, via: publicIp, onlink: false }];
    });
  }
}
