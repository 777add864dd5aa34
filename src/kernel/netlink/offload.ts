import * as libc from '../libc/libc.ts';

// <linux/sockios.h>, <linux/ethtool.h>, struct ifreq of <net/if.h>.
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GTXCSUM = 0x16;
const ETHTOOL_STXCSUM = 0x17;
const IFNAMSIZ = 16;
const IFREQ_LENGTH = 40;

/** Whether the device computes checksums of sent packets (`ethtool -k`: tx-checksumming). */
export function readTxChecksumOffload(socket: number, link: string): boolean {
  return ethtool(socket, link, ETHTOOL_GTXCSUM, 0) !== 0;
}

/** `ethtool -K LINK tx on|off`. `socket` is any socket of the link's namespace. */
export function writeTxChecksumOffload(socket: number, link: string, enabled: boolean): void {
  ethtool(socket, link, ETHTOOL_STXCSUM, Number(enabled));
}

function ethtool(socket: number, link: string, command: number, data: number): number {
  // struct ethtool_value { __u32 cmd; __u32 data; }
  const value = Buffer.alloc(8);
  value.writeUInt32LE(command, 0);
  value.writeUInt32LE(data, 4);
  const request = Buffer.alloc(IFREQ_LENGTH);
  request.write(link, 0);
  request.writeBigUInt64LE(libc.addressOf(value), IFNAMSIZ);
  libc.ioctl(socket, SIOCETHTOOL, request, `ethtool checksum offload of ${link}`);
  return value.readUInt32LE(4);
}
