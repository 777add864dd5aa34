import type { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import type { NetworkConfig } from './network-config.ts';

export const SUBNET_ENV_PATH = '/run/flannel/subnet.env';

/**
 * The content of flannel's subnet.env, in its order; other tools (and flannel's own CNI plugin) read it. The subnet
 * is written with its first usable address.
 */
export function renderSubnetEnv(
  config: Pick<NetworkConfig, 'networks'>,
  podCidrs: ReadonlyMap<IpFamily, Cidr>,
  mtu: number,
  masquerade: boolean,
): string {
  const lines: string[] = [];
  for (const [family, infix] of [
    [4, ''],
    [6, 'IPV6_'],
  ] as const) {
    const network = config.networks.get(family);
    const subnet = podCidrs.get(family);
    if (network === undefined || subnet === undefined) continue;
    lines.push(`FLANNEL_${infix}NETWORK=${network.toString()}`);
    lines.push(`FLANNEL_${infix}SUBNET=${subnet.at(1).toString()}/${subnet.prefixLength}`);
  }
  return [...lines, `FLANNEL_MTU=${mtu}`, `FLANNEL_IPMASQ=${masquerade}`, ''].join('\n');
}
