import { Attributes, listAttributes, MessageBuilder } from '../netlink/message.ts';
import { FAMILIES, writeNfgen } from './nfgen.ts';
import type { NftElement, NftElementList, NftFamily, NftSet, NftSetKind } from './objects.ts';
import { PackedElements } from './packed-elements.ts';

// Numbers from <linux/netfilter/nf_tables.h>.
const NFTA_SET_ELEM_LIST_TABLE = 1;
const NFTA_SET_ELEM_LIST_SET = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS = 3;
const NFTA_LIST_ELEM = 1;
const NFTA_SET_ELEM_KEY = 1;
const NFTA_SET_ELEM_DATA = 2;
const NFTA_SET_ELEM_TIMEOUT = 4;
const NFTA_SET_ELEM_EXPIRATION = 5;
const NFTA_DATA_VALUE = 1;
const NFTA_DATA_VERDICT = 2;
const NFTA_VERDICT_CODE = 1;
const NFTA_VERDICT_CHAIN = 2;

/** enum nft_verdicts and NF_DROP, NF_ACCEPT of <linux/netfilter.h>, as 32 bits. */
const VERDICT_CODES = new Map([
  ['drop', 0],
  ['accept', 1],
  ['continue', 0xffffffff],
  ['jump', 0xfffffffd],
  ['goto', 0xfffffffc],
  ['return', 0xfffffffb],
]);
const VERDICT_NAMES = new Map([...VERDICT_CODES].map(([name, code]) => [code, name]));

/** The payload that names a set, with or without elements: what NFT_MSG_*SETELEM have in common. */
export function writeElementList(
  builder: MessageBuilder,
  set: NftSet,
  elements: NftElementList,
  from: number,
  to: number,
  withValues: boolean,
): void {
  writeNfgen(builder, set.table.family);
  builder.attrString(NFTA_SET_ELEM_LIST_TABLE, set.table.name).attrString(NFTA_SET_ELEM_LIST_SET, set.name);
  if (from === to) return;
  const list = builder.beginNest(NFTA_SET_ELEM_LIST_ELEMENTS);
  if (withValues && areAlike(set, elements, from, to)) writeAlikeElements(builder, set, elements, from, to);
  else {
    for (let i = from; i < to; i += 1) {
      const element = elements.at(i);
      if (element !== undefined) writeElement(builder, set.kind, element, withValues);
    }
  }
  builder.endNest(list);
}

function writeElement(
  builder: MessageBuilder,
  kind: NftSetKind,
  element: NftElement,
  withValue: boolean,
): void {
  const mark = builder.beginNest(NFTA_LIST_ELEM);
  const key = builder.beginNest(NFTA_SET_ELEM_KEY);
  builder.attrBytes(NFTA_DATA_VALUE, Buffer.from(element.key, 'latin1')).endNest(key);
  if (withValue) {
    if (element.value !== undefined) {
      const data = builder.beginNest(NFTA_SET_ELEM_DATA);
      if (kind === 'vmap') writeVerdict(builder, element.value);
      else builder.attrBytes(NFTA_DATA_VALUE, Buffer.from(element.value, 'latin1'));
      builder.endNest(data);
    }
    if (element.timeoutMs !== undefined) builder.attrU64be(NFTA_SET_ELEM_TIMEOUT, BigInt(element.timeoutMs));
    if (element.expiresMs !== undefined)
      builder.attrU64be(NFTA_SET_ELEM_EXPIRATION, BigInt(element.expiresMs));
  }
  builder.endNest(mark);
}

/** Three attribute headers stand before the key's bytes, two before the value's. */
const KEY_AT = 12;
const HEADERS_OF_VALUE = 8;

/**
 * Elements of one set look the same but for their bytes: those of the first are written, and for the others only key
 * and value are exchanged. A tenth of the time, which counts with a hundred thousand of them.
 */
function writeAlikeElements(
  builder: MessageBuilder,
  set: NftSet,
  elements: NftElementList,
  from: number,
  to: number,
): void {
  const first = elements.at(from);
  if (first === undefined) return;
  const scratch = new MessageBuilder(256);
  writeElement(scratch, set.kind, first, true);
  const template = scratch.finish();
  const keyLength = first.key.length;
  const valueLength = first.value?.length ?? 0;
  const valueAt = KEY_AT + keyLength + HEADERS_OF_VALUE;
  for (let i = from; i < to; i += 1) {
    if (elements instanceof PackedElements) elements.copyTo(i, template, KEY_AT, valueAt);
    else {
      const { key = '', value = '' } = elements[i] ?? {};
      for (let at = 0; at < keyLength; at += 1) template[KEY_AT + at] = key.charCodeAt(at);
      for (let at = 0; at < valueLength; at += 1) template[valueAt + at] = value.charCodeAt(at);
    }
    builder.bytes(template);
  }
}

/** Whether `writeAlikeElements` can write them: plain bytes, all of the same length, keys without padding. */
function areAlike(set: NftSet, elements: NftElementList, from: number, to: number): boolean {
  const first = elements.at(from);
  if (first === undefined || set.kind === 'vmap' || first.key.length % 4 !== 0) return false;
  if (elements instanceof PackedElements) return true;
  for (let i = from; i < to; i += 1) {
    const element = elements[i];
    if (element?.key.length !== first.key.length || element.value?.length !== first.value?.length)
      return false;
    if (element.timeoutMs !== undefined) return false;
  }
  return true;
}

function writeVerdict(builder: MessageBuilder, verdict: string): void {
  const space = verdict.indexOf(' ');
  const name = space === -1 ? verdict : verdict.slice(0, space);
  const mark = builder.beginNest(NFTA_DATA_VERDICT);
  builder.attrU32be(NFTA_VERDICT_CODE, VERDICT_CODES.get(name) ?? 0);
  if (space !== -1) builder.attrString(NFTA_VERDICT_CHAIN, verdict.slice(space + 1));
  builder.endNest(mark);
}

/** The elements of one message of a NFT_MSG_GETSETELEM answer or event, appended to `into`. */
export function decodeElements(body: Buffer, kind: NftSetKind, into: NftElement[]): void {
  for (const attribute of listAttributes(body, 4)) {
    if (attribute.type !== NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    for (const item of listAttributes(attribute.value)) into.push(decodeElement(item.value, kind));
  }
}

/** Which set a message of NFT_MSG_*SETELEM is about. */
export function decodeElementsHeader(body: Buffer): {
  family: NftFamily | undefined;
  table: string;
  set: string;
} {
  const attributes = Attributes.parse(body, 4);
  const family = (Object.entries(FAMILIES) as [NftFamily, number][]).find(([, number]) => number === body[0]);
  return {
    family: family?.[0],
    table: attributes.string(NFTA_SET_ELEM_LIST_TABLE) ?? '',
    set: attributes.string(NFTA_SET_ELEM_LIST_SET) ?? '',
  };
}

function decodeElement(data: Buffer, kind: NftSetKind): NftElement {
  let key = '';
  let value: string | undefined;
  let timeoutMs: number | undefined;
  let expiresMs: number | undefined;
  for (const { type, value: bytes } of listAttributes(data)) {
    if (type === NFTA_SET_ELEM_KEY) key = dataBytes(bytes);
    else if (type === NFTA_SET_ELEM_DATA) {
      value = kind === 'vmap' ? decodeVerdict(bytes) : dataBytes(bytes);
    } else if (type === NFTA_SET_ELEM_TIMEOUT) timeoutMs = Number(bytes.readBigUInt64BE());
    else if (type === NFTA_SET_ELEM_EXPIRATION) expiresMs = Number(bytes.readBigUInt64BE());
  }
  return {
    key,
    ...(value === undefined ? {} : { value }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(expiresMs === undefined ? {} : { expiresMs }),
  };
}

/** The bytes of NFTA_DATA_VALUE, the one attribute inside a key or a datum. */
function dataBytes(data: Buffer): string {
  return data.toString('latin1', 4, data.readUInt16LE(0));
}

function decodeVerdict(data: Buffer): string {
  const verdict = Attributes.parse(data).nested(NFTA_DATA_VERDICT);
  const name = VERDICT_NAMES.get(verdict?.u32be(NFTA_VERDICT_CODE) ?? 0) ?? 'unknown';
  const chain = verdict?.string(NFTA_VERDICT_CHAIN);
  return chain === undefined ? name : `${name} ${chain}`;
}
