import type { Ip, IpFamily } from '../net/ip.ts';
import type { Mac } from '../net/mac.ts';
import type { Backend, LocalNode } from '../podnet/backends/backend.ts';
import { readVtep } from '../podnet/backends/vxlan/vtep.ts';
import { writeBackendSettings } from '../podnet/backends/write-settings.ts';
import type { Offer } from '../podnet/node-lease.ts';
import { choosePublicAddress } from '../podnet/public-address.ts';
import type { OwnNode, Publication } from '../podnet/stores/lease-store.ts';
import type { BackendRollout } from './backend-rollout.ts';
import type { AgentConfig } from './config.ts';

/** What the other nodes are told; `reason` is why the address was taken, `met` as in `NodeAbout`. */
export function publicationOf(
  { publicIP, publicIPv6 }: Pick<AgentConfig, 'publicIP' | 'publicIPv6'>,
  rollout: BackendRollout,
  node: OwnNode,
  local: LocalNode,
  reason: string,
  met: boolean,
): Publication {
  const publicIps = new Map<IpFamily, Ip>();
  const reasons = [reason];
  for (const [family, { ip: own }] of local.families) {
    const overwrite = node.publicIpOverwrites.get(family);
    const chosen = choosePublicAddress({ overwrite, configured: family === 4 ? publicIP : publicIPv6, own });
    publicIps.set(family, chosen.ip);
    if (!chosen.ip.equals(own)) reasons.push(`${chosen.ip.toString()} is published: ${chosen.reason}`);
  }
  const [first, ...more] = rollout.offered;
  const { device, mtu, onLink } = local.underlay;
  return {
    offers: [offerOf(first, local), ...more.map((backend) => offerOf(backend, local))],
    publicIps,
    about: {
      device,
      reason: reasons.join('; '),
      met,
      mtu,
      subnets: onLink.map(String),
      backends: rollout.settings.map((settings) => writeBackendSettings(settings, { secrets: false })),
    },
  };
}

/** MACs of an earlier run: kept, so that peers need not learn others. */
export function publishedMacs({ published }: OwnNode): Map<IpFamily, Mac> {
  const macs = new Map<IpFamily, Mac>();
  if (published?.type !== 'vxlan') return macs;
  for (const [family, data] of published.data) {
    try {
      macs.set(family, readVtep(data).mac);
    } catch {
      // Spoiled by somebody: it is written anew.
    }
  }
  return macs;
}

function offerOf(backend: Backend, local: LocalNode): Offer {
  const data = [...local.families].map(([family, facts]) => [family, backend.data(facts, family)] as const);
  return { type: backend.type, data: new Map(data) };
}
