import { Cidr } from '../net/cidr.ts';
import type { IpFamily } from '../net/ip.ts';
import type { NetworkConfig } from './network-config.ts';

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

/** What an earlier run left: enough to serve pods before the API server has answered. */
export interface SubnetEnv {
  readonly podCidrs: ReadonlyMap<IpFamily, Cidr>;
  readonly mtu: number;
}

/** Reads a subnet.env; undefined when it does not fit the cluster's networks (any more) or is no such file. */
export function parseSubnetEnv(text: string, config: Pick<NetworkConfig, 'networks'>): SubnetEnv | undefined {
  const values = subnetEnvValues(text);
  const podCidrs = new Map<IpFamily, Cidr>();
  for (const [family, network] of config.networks) {
    const infix = family === 4 ? '' : 'IPV6_';
    const subnet = Cidr.tryParse(values.get(`FLANNEL_${infix}SUBNET`) ?? '');
    if (subnet === undefined || values.get(`FLANNEL_${infix}NETWORK`) !== network.toString())
      return undefined;
    if (!network.contains(subnet)) return undefined;
    podCidrs.set(family, subnet);
  }
  const mtu = Number(values.get('FLANNEL_MTU'));
  return Number.isInteger(mtu) && mtu >= 576 ? { podCidrs, mtu } : undefined;
}

/** Its variables, as they stand there. */
export function subnetEnvValues(text: string): ReadonlyMap<string, string> {
  const lines = text.split('\n').filter((line) => line.includes('='));
  return new Map(
    lines.map((line) => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals).trim(), line.slice(equals + 1).trim()];
    }),
  );
}
