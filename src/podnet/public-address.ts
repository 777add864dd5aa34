import { FlatnetError } from '../errors/flatnet-error.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip, type IpFamily } from '../net/ip.ts';

/** "This host", loopback, multicast and reserved addresses (RFC 6890, RFC 4291): packets there reach no node. */
const NO_HOSTS: Readonly<Record<IpFamily, readonly Cidr[]>> = {
  4: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'].map((text) => Cidr.parse(text)),
  6: ['::/127', 'fe80::/10', 'ff00::/8'].map((text) => Cidr.parse(text)),
};

export interface PublicAddressWish {
  readonly node: string;
  readonly family: IpFamily;
  /** Name and text of the annotation `public-ip-overwrite`; undefined where there is none. */
  readonly overwrite: { readonly annotation: string; readonly text: string } | undefined;
  /** As flannel's --public-ip. */
  readonly configured: Ip | undefined;
  /** Of the interface. */
  readonly own: Ip;
}

export interface PublicAddress {
  readonly ip: Ip;
  readonly reason: string;
  /** An overwrite that is of no use: it is told, and the next choice taken. */
  readonly problem?: FlatnetError;
}

/** What other nodes are told to send to: the annotation, else what is configured, else the interface's own address. */
export function choosePublicAddress(wish: PublicAddressWish): PublicAddress {
  const { overwrite, configured, own, family, node } = wish;
  const otherwise =
    configured === undefined
      ? { ip: own, reason: "the interface's own address" }
      : { ip: configured, reason: family === 4 ? 'publicIP' : 'publicIPv6' };
  if (overwrite === undefined || overwrite.text === '') return otherwise;
  const ip = Ip.tryParse(overwrite.text);
  const fault =
    ip?.family === family ? isNoHost(ip) && 'which is no address of a node' : `not an IPv${family} address`;
  if (ip !== undefined && fault === false) return { ip, reason: `annotation ${overwrite.annotation}` };
  return {
    ...otherwise,
    problem: new FlatnetError(
      `node ${node}: annotation ${overwrite.annotation} is ${JSON.stringify(overwrite.text.slice(0, 100))}, ${String(fault)}`,
      {
        code: 'INVALID_PUBLIC_IP',
        hint: `${otherwise.ip.toString()} (${otherwise.reason}) is published in its place; correct the annotation or remove it`,
      },
    ),
  };
}

/** Whether packets to the address can reach no node, whoever has it. */
export const isNoHost = (ip: Ip): boolean => NO_HOSTS[ip.family].some((range) => range.contains(ip));
