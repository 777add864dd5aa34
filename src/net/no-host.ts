import { Cidr } from './cidr.ts';
import type { Ip, IpFamily } from './ip.ts';

/** "This host", loopback, multicast and reserved addresses (RFC 6890, RFC 4291): packets there reach no node. */
const NO_HOSTS: Readonly<Record<IpFamily, readonly Cidr[]>> = {
  4: ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3'].map((text) => Cidr.parse(text)),
  6: ['::/127', 'ff00::/8'].map((text) => Cidr.parse(text)),
};

/** Whether the address can be no other machine's. */
export const isNoHostAnywhere = (ip: Ip): boolean => NO_HOSTS[ip.family].some((range) => range.contains(ip));
