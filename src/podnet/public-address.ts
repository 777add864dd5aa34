import { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';

/** "This host", loopback, multicast and reserved addresses (RFC 6890, RFC 4291): packets there reach no node. */
const NO_HOSTS: Readonly<Record<IpFamily, readonly Cidr[]>> = {
  4: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'].map((text) => Cidr.parse(text)),
  6: ['::/127', 'fe80::/10', 'ff00::/8'].map((text) => Cidr.parse(text)),
};

/** Whether packets to the address can reach no node, whoever has it. */
export const isNoHost = (ip: Ip): boolean => NO_HOSTS[ip.family].some((range) => range.contains(ip));

export interface PublicAddressWish {
  /** The annotation `public-ip-overwrite`; undefined where there is none that is of use. */
  readonly overwrite: Ip | undefined;
  /** As flannel's --public-ip. */
  readonly configured: Ip | undefined;
  /** Of the interface. */
  readonly own: Ip;
}

/** What other nodes are told to send to, and why: the annotation, else what is configured, else the interface's own. */
export function choosePublicAddress({ overwrite, configured, own }: PublicAddressWish): {
  ip: Ip;
  reason: string;
} {
  if (overwrite !== undefined) return { ip: overwrite, reason: 'annotation public-ip-overwrite' };
  if (configured !== undefined)
    return { ip: configured, reason: configured.family === 4 ? 'publicIP' : 'publicIPv6' };
  return { ip: own, reason: 'address of the interface' };
}
