import type { Socket } from 'node:net';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { getsockopt } from '../../../kernel/libc/libc.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';

export interface Destination {
  readonly address: string;
  readonly port: number;
}

/** <linux/netfilter_ipv4.h>: SOL_IP, SO_ORIGINAL_DST; <linux/netfilter_ipv6/ip6_tables.h>: IP6T_SO_ORIGINAL_DST. */
const OPTIONS = { 4: { level: 0, option: 80 }, 6: { level: 41, option: 80 } } as const;
/** Of sockaddr_in6, the longer one. */
const SOCKADDR_SIZE = 28;

/**
 * Where the client of an accepted TCP connection wanted to go before a rule led it here: connection tracking knows.
 * Undefined when it does not, or when the connection is gone already.
 */
export function originalDestination(socket: Socket, family: IpFamily): Destination | undefined {
  // Node.js has no public way to a socket's descriptor; every release since 0.x keeps it here on POSIX systems.
  const handle = Reflect.get(socket, '_handle') as { readonly fd?: number } | null | undefined;
  const fd = handle?.fd;
  if (fd === undefined || fd < 0) return undefined;
  const { level, option } = OPTIONS[family];
  try {
    return decodeDestination(getsockopt(fd, level, option, SOCKADDR_SIZE), family);
  } catch (error) {
    if (error instanceof FlatnetError && ['ENOENT', 'ENOTCONN'].includes(error.code)) return undefined;
    throw error;
  }
}

/** From struct sockaddr_in or sockaddr_in6. */
function decodeDestination(sockaddr: Buffer, family: IpFamily): Destination {
  const bytes = family === 4 ? sockaddr.subarray(4, 8) : sockaddr.subarray(8, 24);
  return { address: Ip.fromBytes(bytes).toString(), port: sockaddr.readUInt16BE(2) };
}
