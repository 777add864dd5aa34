import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import type { LocalTraffic, NodePortAddresses, ProxySettings } from '../settings.ts';
import type { NodeFacts } from './node-facts.ts';
import type { ProxyConfig } from './proxy-config.ts';

/** What the machine itself says. */
export interface HostFacts {
  /** Families that the kernel has. */
  readonly families: readonly IpFamily[];
  /** Addresses of all interfaces, kube-ipvs0 apart. */
  readonly addresses: readonly Ip[];
}

export interface ProxyPlan {
  readonly settings: ProxySettings;
  /** What is probably not as the operator wants it; a sentence each, naming the field. */
  readonly warnings: readonly string[];
}

const LOOPBACK = { 4: Ip.parse('127.0.0.1'), 6: Ip.parse('::1') } as const;
const LOOPBACK_NETWORK = Cidr.parse('127.0.0.0/8');

/**
 * How Services are to be served on a node. Throws FAMILY_MISMATCH where the configuration cannot work on this node:
 * the kernel lacks the node's family, or the pod ranges are all of a family that it has not.
 */
export function planProxy(
  config: ProxyConfig,
  node: Pick<NodeFacts, 'ips' | 'podCidrs'>,
  host: HostFacts,
  serviceCidrs: readonly Cidr[] = [],
): ProxyPlan {
  const warnings: string[] = [];
  const nodeIps = withBindAddress(node.ips, config.bindAddress, host.families);
  const primary = nodeIps[0] ?? LOOPBACK[4];
  if (!host.families.includes(primary.family)) {
    throw new FlatnetError(
      `the node's address ${primary.toString()} is IPv${primary.family}, which this kernel has not`,
      {
        code: 'FAMILY_MISMATCH',
        hint: `boot without disabling IPv${primary.family}, or set bindAddress to an address of the other family`,
      },
    );
  }
  if (isLoopback(primary)) {
    warnings.push(
      'the address of this node is not known, the loopback address is taken; set bindAddress if that is wrong',
    );
  }
  const own = config.mode === 'nftables' ? config.nftables : config.iptables;
  const ports = nodePorts(config, nodeIps, host, warnings);
  const settings: ProxySettings = {
    families: host.families,
    nodeIps,
    nodePortAddresses: ports,
    localhostNodePorts: config.iptables.localhostNodePorts && includesLoopback(config),
    localTraffic: localTraffic(config, node.podCidrs, {
      primary: primary.family,
      families: host.families,
      warnings,
    }),
    serviceCidrs,
    masqueradeAll: own.masqueradeAll,
    masqueradeBit: own.masqueradeBit,
  };
  return { settings, warnings };
}

/**
 * `bindAddress`, where it is a real one, is the node's address of its family and the primary one; a family without
 * any address has loopback, as with kube-proxy.
 */
function withBindAddress(ips: readonly Ip[], bind: Ip | undefined, families: readonly IpFamily[]): Ip[] {
  const wins = bind !== undefined && bind.value !== 0n;
  const primary = wins ? bind : (ips[0] ?? LOOPBACK[4]);
  const other: IpFamily = primary.family === 4 ? 6 : 4;
  const second = ips.find((ip) => ip.family === other);
  if (second !== undefined) return [primary, second];
  return families.includes(other) ? [primary, LOOPBACK[other]] : [primary];
}

const isLoopback = (ip: Ip): boolean =>
  ip.family === 4 ? LOOPBACK_NETWORK.contains(ip) : ip.equals(LOOPBACK[6]);

function includesLoopback({ nodePortAddresses }: ProxyConfig): boolean {
  if (nodePortAddresses === 'all') return true;
  if (nodePortAddresses === 'primary') return false;
  const ofFamily = nodePortAddresses.filter((cidr) => cidr.family === 4);
  return ofFamily.length === 0 || ofFamily.some((cidr) => cidr.overlaps(LOOPBACK_NETWORK));
}

function nodePorts(
  { nodePortAddresses: wanted, mode }: ProxyConfig,
  nodeIps: readonly Ip[],
  { families, addresses }: HostFacts,
  warnings: string[],
): NodePortAddresses {
  if (wanted === 'primary') return nodeIps.filter((ip) => !isLoopback(ip));
  if (wanted === 'all') {
    const whole =
      'nodePortAddresses is not set: node ports answer on every address of the node; consider "primary"';
    if (mode !== 'nftables') warnings.push(whole);
    return 'all';
  }
  const ofFamily = (family: IpFamily): readonly Cidr[] => wanted.filter((cidr) => cidr.family === family);
  // A family that is not limited is open, whatever is said of the other one.
  const open = families.filter((family) => {
    const own = ofFamily(family);
    return own.length === 0 || own.some((cidr) => cidr.prefixLength === 0);
  });
  for (const family of open) {
    if (ofFamily(family).length > 0 || !nodeIps.some((ip) => ip.family === family && !isLoopback(ip)))
      continue;
    warnings.push(
      `nodePortAddresses names no IPv${family} network: node ports answer on every IPv${family} address of the node`,
    );
  }
  if (open.length === families.length) return 'all';
  const matching = addresses.filter(
    (ip) =>
      !isLoopback(ip) &&
      (open.includes(ip.family) || wanted.some((cidr) => cidr.family === ip.family && cidr.contains(ip))),
  );
  if (matching.length === 0)
    warnings.push(
      `nodePortAddresses: no address of this node is in ${wanted.join(', ')}: node ports answer nowhere`,
    );
  return matching;
}

interface Place {
  readonly primary: IpFamily;
  readonly families: readonly IpFamily[];
  readonly warnings: string[];
}

function localTraffic(config: ProxyConfig, podCidrs: readonly Cidr[], place: Place): LocalTraffic {
  const { detectLocalMode: mode, detectLocal, clusterCIDR } = config;
  if (mode === 'BridgeInterface') return { kind: 'bridge', device: detectLocal.bridgeInterface };
  if (mode === 'InterfaceNamePrefix')
    return { kind: 'interface-prefix', prefix: detectLocal.interfaceNamePrefix };
  const [cidrs, field] =
    mode === 'ClusterCIDR' ? [clusterCIDR, 'clusterCIDR'] : [podCidrs, "the Node's spec.podCIDRs"];
  return byCidrs(cidrs, `detectLocalMode is ${mode}, but ${field}`, place);
}

/** Traffic of a family without a range counts as local: nothing of it is masqueraded for where it comes from. */
function byCidrs(
  cidrs: readonly Cidr[],
  subject: string,
  { primary, families, warnings }: Place,
): LocalTraffic {
  if (!cidrs.some((cidr) => cidr.family === primary)) {
    const text = `${subject} names no IPv${primary} network`;
    if (cidrs.length > 0 && families.length === 1) {
      throw new FlatnetError(`${text}, and the node has no other family`, {
        code: 'FAMILY_MISMATCH',
        hint: 'name the pod range of the family that the node has',
      });
    }
    warnings.push(`${text}: traffic from outside of the cluster to Services is not masqueraded`);
  }
  return cidrs.length === 0 ? { kind: 'none' } : { kind: 'cidrs', cidrs };
}
