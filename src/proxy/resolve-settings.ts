import { FlatnetError } from '../errors/flatnet-error.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';
import type { ProxyConfig } from './config/proxy-config.ts';
import type { NodeFacts } from './node-facts.ts';
import type { LocalTraffic, NodePortAddresses, ProxySettings } from './settings.ts';

export interface SettingsSources {
  readonly config: ProxyConfig;
  readonly node: Pick<NodeFacts, 'ips' | 'podCidrs'>;
  readonly serviceCidrs: readonly Cidr[];
  /** Families that the kernel has. */
  readonly families: readonly IpFamily[];
  /** Addresses of the machine's devices, those of Services apart. */
  readonly addresses: readonly Ip[];
}

const LOOPBACK: Readonly<Record<IpFamily, Cidr>> = {
  4: Cidr.parse('127.0.0.0/8'),
  6: Cidr.parse('::1/128'),
};
/** Needs the name of a device beside it: nobody's node port. */
const LINK_LOCAL = Cidr.parse('fe80::/10');

/**
 * What a mode is given, from what the operator, the node and the machine say; pure. Throws FAMILY_MISMATCH where the
 * kernel has not the family of the node's address.
 */
export function resolveSettings(sources: SettingsSources): ProxySettings {
  const { config, node, serviceCidrs, addresses } = sources;
  const nodeIps = withBindAddress(node.ips, config.bindAddress);
  const [primary] = nodeIps;
  if (primary !== undefined && !sources.families.includes(primary.family)) {
    throw new FlatnetError(
      `the node's address ${primary.toString()} is IPv${primary.family}, which this kernel has not`,
      {
        code: 'FAMILY_MISMATCH',
        hint: `boot without disabling IPv${primary.family}, or set bindAddress to an address of the other family`,
      },
    );
  }
  // A family that the node has no address of has hardly Services in its cluster, and its kernel may lack what they need.
  const families = sources.families.filter(
    (family) => nodeIps.length === 0 || nodeIps.some((ip) => ip.family === family),
  );
  // kube-proxy's ipvs mode takes these two from the iptables section, and so does userspace.
  const { masqueradeAll, masqueradeBit } = config.mode === 'nftables' ? config.nftables : config.iptables;
  return {
    families,
    nodeIps,
    nodePortAddresses: resolveNodePortAddresses(config.nodePortAddresses, families, nodeIps, addresses),
    localhostNodePorts: config.iptables.localhostNodePorts && answersOnLoopback(config.nodePortAddresses),
    localTraffic: localTrafficOf(config, node),
    serviceCidrs,
    masqueradeAll,
    masqueradeBit,
  };
}

/** --bind-address is, where it is one, the node's address of its family, and the primary one. */
function withBindAddress(ips: readonly Ip[], bind: Ip | undefined): readonly Ip[] {
  if (bind === undefined || bind.value === 0n) return ips;
  return [bind, ...ips.filter((ip) => !ip.equals(bind))];
}

function resolveNodePortAddresses(
  wanted: ProxyConfig['nodePortAddresses'],
  families: readonly IpFamily[],
  nodeIps: readonly Ip[],
  addresses: readonly Ip[],
): NodePortAddresses {
  if (wanted === 'all') return 'all';
  if (wanted === 'primary') {
    return families.flatMap((family) => nodeIps.find((ip) => ip.family === family) ?? []);
  }
  const ofFamily = (family: IpFamily): readonly Cidr[] => wanted.filter((cidr) => cidr.family === family);
  // A family that the list does not speak of answers everywhere, as one with 0.0.0.0/0 or ::/0 does.
  const everywhere = (family: IpFamily): boolean => {
    const cidrs = ofFamily(family);
    return cidrs.length === 0 || cidrs.some(({ prefixLength }) => prefixLength === 0);
  };
  if (families.every(everywhere)) return 'all';
  return addresses.filter((ip) => {
    if (!families.includes(ip.family) || LOOPBACK[ip.family].contains(ip) || LINK_LOCAL.contains(ip)) {
      return false;
    }
    return everywhere(ip.family) || ofFamily(ip.family).some((cidr) => cidr.contains(ip));
  });
}

function answersOnLoopback(wanted: ProxyConfig['nodePortAddresses']): boolean {
  if (wanted === 'all') return true;
  if (wanted === 'primary') return false;
  const own = wanted.filter(({ family }) => family === 4);
  return own.length === 0 || own.some((cidr) => cidr.overlaps(LOOPBACK[4]));
}

function localTrafficOf(config: ProxyConfig, node: Pick<NodeFacts, 'podCidrs'>): LocalTraffic {
  const { detectLocalMode: mode, detectLocal } = config;
  if (mode === 'BridgeInterface') return { kind: 'bridge', device: detectLocal.bridgeInterface };
  if (mode === 'InterfaceNamePrefix') {
    return { kind: 'interface-prefix', prefix: detectLocal.interfaceNamePrefix };
  }
  const cidrs = mode === 'NodeCIDR' ? node.podCidrs : config.clusterCIDR;
  return cidrs.length === 0 ? { kind: 'none' } : { kind: 'cidrs', cidrs };
}
