import type { MessageBuilder } from '../netlink/message.ts';
import { writeNfgen } from './nfgen.ts';
import type { NftFieldType, NftSetChange, NftSetType } from './objects.ts';

// Numbers from <linux/netfilter/nf_tables.h>.
const NFTA_SET_TABLE = 1;
const NFTA_SET_NAME = 2;
const NFTA_SET_FLAGS = 3;
const NFTA_SET_KEY_TYPE = 4;
const NFTA_SET_KEY_LEN = 5;
const NFTA_SET_DATA_TYPE = 6;
const NFTA_SET_DATA_LEN = 7;
const NFTA_SET_DESC = 9;
const NFTA_SET_ID = 10;
const NFTA_SET_USERDATA = 13;
const NFTA_SET_DESC_SIZE = 1;
const SET_MAP = 8;
const SET_TIMEOUT = 0x10;
const SET_EVAL = 0x20;
const DATA_VERDICT = 0xffffff00;

/** The kernel keeps the number for nft, which lists elements by it: enum datatypes of nft's include/datatype.h. */
const FIELD_TYPES: Readonly<Record<NftFieldType, { readonly number: number; readonly bytes: number }>> = {
  ipv4_addr: { number: 7, bytes: 4 },
  ipv6_addr: { number: 8, bytes: 16 },
  inet_proto: { number: 12, bytes: 4 },
  inet_service: { number: 13, bytes: 4 },
  mark: { number: 19, bytes: 4 },
};
/** A concatenation's number has so many bits for each of its fields. */
const CONCATENATION_BITS = 6;

/** The payload of NFT_MSG_NEWSET. */
export function writeDefinition(builder: MessageBuilder, { set, type }: NftSetChange, id: number): void {
  const dynamic = type.dynamicSize === undefined ? 0 : SET_TIMEOUT | SET_EVAL;
  const key = typeOf(type.key);
  writeNfgen(builder, set.table.family)
    .attrString(NFTA_SET_TABLE, set.table.name)
    .attrString(NFTA_SET_NAME, set.name)
    .attrU32be(NFTA_SET_FLAGS, dynamic | (set.kind === 'set' ? 0 : SET_MAP))
    .attrU32be(NFTA_SET_KEY_TYPE, key.number)
    .attrU32be(NFTA_SET_KEY_LEN, key.bytes);
  if (set.kind === 'vmap')
    builder.attrU32be(NFTA_SET_DATA_TYPE, DATA_VERDICT).attrU32be(NFTA_SET_DATA_LEN, 0);
  else if (set.kind === 'map') {
    const data = typeOf(type.data ?? []);
    builder.attrU32be(NFTA_SET_DATA_TYPE, data.number).attrU32be(NFTA_SET_DATA_LEN, data.bytes);
  }
  builder.attrU32be(NFTA_SET_ID, id);
  builder.attrBytes(NFTA_SET_USERDATA, userData(type));
  if (type.dynamicSize === undefined) return;
  const { dynamicSize } = type;
  builder.nest(NFTA_SET_DESC, (nest) => nest.attrU32be(NFTA_SET_DESC_SIZE, dynamicSize));
}

function typeOf(fields: readonly NftFieldType[]): { readonly number: number; readonly bytes: number } {
  let number = 0;
  let bytes = 0;
  for (const field of fields) {
    number = number * 2 ** CONCATENATION_BITS + FIELD_TYPES[field].number;
    bytes += FIELD_TYPES[field].bytes;
  }
  return { number, bytes };
}

/** NFTNL_UDATA_SET_KEYBYTEORDER and NFTNL_UDATA_SET_DATABYTEORDER of libnftnl's udata.h, each with a 32-bit value. */
const USER_DATA_KEY = 0;
const USER_DATA_DATA = 1;
/** enum byteorder of nft's include/datatype.h. */
const BYTE_ORDERS = { none: 0, host: 1, network: 2 } as const;

/** What nft wants to know to list numbers as they are. */
function userData({ key, data }: NftSetType): Buffer {
  const bytes = Buffer.alloc(12);
  for (const [at, type, fields] of [
    [0, USER_DATA_KEY, key],
    [6, USER_DATA_DATA, data ?? []],
  ] as const) {
    bytes.writeUInt8(type, at);
    bytes.writeUInt8(4, at + 1);
    bytes.writeUInt32LE(BYTE_ORDERS[byteOrderOf(fields)], at + 2);
  }
  return bytes;
}

function byteOrderOf(fields: readonly NftFieldType[]): keyof typeof BYTE_ORDERS {
  const [only, second] = fields;
  // Of a concatenation each field has its own.
  if (only === undefined || second !== undefined) return 'none';
  return only === 'mark' ? 'host' : 'network';
}
