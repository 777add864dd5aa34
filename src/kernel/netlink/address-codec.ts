import { Ip, type IpFamily } from '../../net/ip.ts';
import { AF_INET, AF_INET6 } from '../libc/libc.ts';
import { RT_SCOPE_UNIVERSE } from './constants.ts';
import { Attributes, MessageBuilder } from './message.ts';
import type { Address, AddressKey, NewAddress } from './objects.ts';

// struct ifaddrmsg and attributes of <linux/if_addr.h>.
const IFADDR_LENGTH = 8;
const IFA = { ADDRESS: 1, LOCAL: 2, LABEL: 3, BROADCAST: 4, FLAGS: 8 } as const;
const IFA_F_NODAD = 0x02;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_NOPREFIXROUTE = 0x200;

export function addressFamily(family: IpFamily | undefined): number {
  if (family === undefined) return 0;
  return family === 4 ? AF_INET : AF_INET6;
}

/** The payload of RTM_NEWADDR. */
export function encodeAddress(address: NewAddress): Buffer {
  const flags =
    (address.noDad === true ? IFA_F_NODAD : 0) | (address.noPrefixRoute === true ? IFA_F_NOPREFIXROUTE : 0);
  const builder = ifaddr(address, address.scope ?? RT_SCOPE_UNIVERSE);
  if (address.broadcast !== undefined) builder.attrBytes(IFA.BROADCAST, address.broadcast.toBytes());
  if (address.label !== undefined) builder.attrString(IFA.LABEL, address.label);
  if (flags !== 0) builder.attrU32(IFA.FLAGS, flags);
  return builder.finish();
}

/** The payload of RTM_DELADDR. */
export function encodeAddressKey(key: AddressKey): Buffer {
  return ifaddr(key, 0).finish();
}

/** The payload of a RTM_GETADDR dump. */
export function encodeAddressQuery(family: IpFamily | undefined, link: number | undefined): Buffer {
  return new MessageBuilder()
    .u8(addressFamily(family))
    .u8(0)
    .u8(0)
    .u8(0)
    .u32(link ?? 0)
    .finish();
}

/** Decodes RTM_NEWADDR and RTM_DELADDR; undefined for families other than IPv4 and IPv6. */
export function decodeAddress(body: Buffer): Address | undefined {
  const family = body.readUInt8(0);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  const attributes = Attributes.parse(body, IFADDR_LENGTH);
  const prefix = attributes.bytes(IFA.ADDRESS);
  // IFA_ADDRESS is the other end where there is one, IFA_LOCAL the own address (comment in <linux/if_addr.h>).
  const local = attributes.bytes(IFA.LOCAL) ?? prefix;
  if (local === undefined) return undefined;
  const broadcast = attributes.bytes(IFA.BROADCAST);
  const label = attributes.string(IFA.LABEL);
  const flags = attributes.u32(IFA.FLAGS) ?? body.readUInt8(2);
  return {
    link: body.readUInt32LE(4),
    ip: Ip.fromBytes(local),
    prefixLength: body.readUInt8(1),
    scope: body.readUInt8(3),
    ...(prefix === undefined || prefix.equals(local) ? {} : { peer: Ip.fromBytes(prefix) }),
    ...(broadcast === undefined ? {} : { broadcast: Ip.fromBytes(broadcast) }),
    ...(label === undefined ? {} : { label }),
    flags,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
  };
}

function ifaddr(key: AddressKey, scope: number): MessageBuilder {
  return new MessageBuilder()
    .u8(addressFamily(key.ip.family))
    .u8(key.prefixLength)
    .u8(0)
    .u8(scope)
    .u32(key.link)
    .attrBytes(IFA.LOCAL, key.ip.toBytes())
    .attrBytes(IFA.ADDRESS, (key.peer ?? key.ip).toBytes());
}
