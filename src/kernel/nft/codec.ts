import { writeExpressions } from './expression.ts';
import {
  Attributes,
  listAttributes,
  MessageBuilder,
  NLM_F_ACK,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_REQUEST,
} from '../netlink/message.ts';
import type {
  NftChainChange,
  NftChange,
  NftElement,
  NftElementList,
  NftElementsChange,
  NftFamily,
  NftOperation,
  NftSet,
  NftSetKind,
} from './objects.ts';
import { PackedElements } from './packed-elements.ts';

// Numbers from <linux/netfilter/nfnetlink.h> and <linux/netfilter/nf_tables.h>.
const NFNL_SUBSYS_NFTABLES = 10;
const NFNL_MSG_BATCH_BEGIN = 0x10;
const NFNL_MSG_BATCH_END = 0x11;
const NFT_MSG_NEWCHAIN = 3;
export const NFT_MSG_GETCHAIN = 4;
const NFT_MSG_NEWRULE = 6;
export const NFT_MSG_GETRULE = 7;
const NFT_MSG_DELRULE = 8;
export const NFT_MSG_GETSET = 10;
export const NFT_MSG_NEWSETELEM = 12;
export const NFT_MSG_GETSETELEM = 13;
const NFT_MSG_DELSETELEM = 14;
export const NFT_MSG_GETGEN = 16;
/** Since Linux 6.3; not yet in every distribution's header. */
const NFT_MSG_DESTROYSETELEM = 30;

const NFTA_CHAIN_NAME = 3;
const NFTA_RULE_TABLE = 1;
const NFTA_RULE_CHAIN = 2;
const NFTA_RULE_EXPRESSIONS = 4;
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

const FAMILIES: Readonly<Record<NftFamily, number>> = { inet: 1, ip: 2, ip6: 10 };

const MESSAGE_TYPES: Readonly<Record<NftOperation, number>> = {
  add: NFT_MSG_NEWSETELEM,
  delete: NFT_MSG_DELSETELEM,
  destroy: NFT_MSG_DESTROYSETELEM,
};

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

/** Attribute lengths have 16 bits; an element takes well under 250 bytes. */
const ELEMENTS_PER_MESSAGE = 250;

export const nftMessageType = (operation: number): number => (NFNL_SUBSYS_NFTABLES << 8) | operation;

/** struct nfgenmsg. */
export function writeNfgen(
  builder: MessageBuilder,
  family: NftFamily | undefined,
  resource = 0,
): MessageBuilder {
  return builder
    .u8(family === undefined ? 0 : FAMILIES[family])
    .u8(0)
    .u16be(resource);
}

export interface EncodedBatch {
  readonly bytes: Buffer;
  /** What each message is about, by its number from `firstSeq` on; undefined: begin and end. */
  readonly parts: readonly (BatchPart | undefined)[];
}

export interface BatchPart {
  readonly change: NftChange;
  /** Of the change's elements, those of this message. */
  readonly from: number;
  readonly to: number;
}

/** How many messages `encodeBatch` will make, begin and end included. */
export function countBatchMessages(changes: readonly NftChange[]): number {
  let count = 2;
  for (const change of changes) {
    count +=
      change.operation === 'write-chain'
        ? change.rules.length + 2
        : Math.ceil(change.elements.length / ELEMENTS_PER_MESSAGE);
  }
  return count;
}

/**
 * One transaction: NFNL_MSG_BATCH_BEGIN, the changes in their order (elements in messages of bounded size),
 * NFNL_MSG_BATCH_END. The last change's last message asks for an acknowledgement, which the kernel sends after the
 * commit.
 */
export function encodeBatch(changes: readonly NftChange[], firstSeq: number): EncodedBatch {
  const batch = new BatchWriter(changes, firstSeq);
  return batch.encode();
}

/** Elements of one set are about as long as the first. */
function estimateBytes(change: NftChange): number {
  if (change.operation === 'write-chain') return 2048;
  const first = change.elements.at(0);
  const each = 32 + (first?.key.length ?? 0) + (first?.value?.length ?? 0);
  return change.elements.length * each + 64 * (1 + change.elements.length / ELEMENTS_PER_MESSAGE);
}

class BatchWriter {
  readonly #changes: readonly NftChange[];
  readonly #builder: MessageBuilder;
  readonly #parts: (BatchPart | undefined)[] = [undefined];
  readonly #lastSeq: number;
  readonly #firstSeq: number;

  constructor(changes: readonly NftChange[], firstSeq: number) {
    let size = 512;
    for (const change of changes) size += estimateBytes(change);
    this.#changes = changes;
    this.#builder = new MessageBuilder(Math.ceil(size));
    this.#firstSeq = firstSeq;
    this.#lastSeq = firstSeq + countBatchMessages(changes) - 2;
  }

  encode(): EncodedBatch {
    this.#control(NFNL_MSG_BATCH_BEGIN, this.#firstSeq);
    for (const change of this.#changes) {
      if (change.operation === 'write-chain') this.#chain(change);
      else this.#elements(change);
    }
    this.#control(NFNL_MSG_BATCH_END, this.#lastSeq + 1);
    return { bytes: this.#builder.finish(), parts: this.#parts };
  }

  #control(type: number, seq: number): void {
    writeNfgen(this.#builder.begin(type, NLM_F_REQUEST, seq), undefined, NFNL_SUBSYS_NFTABLES).end();
  }

  #begin(operation: number, flags: number, part: BatchPart): MessageBuilder {
    const seq = this.#firstSeq + this.#parts.length;
    this.#parts.push(part);
    const ack = seq === this.#lastSeq ? NLM_F_ACK : 0;
    return this.#builder.begin(nftMessageType(operation), NLM_F_REQUEST | flags | ack, seq);
  }

  #elements(change: NftElementsChange): void {
    const { operation, set, elements } = change;
    const adding = operation === 'add';
    for (let from = 0; from < elements.length; from += ELEMENTS_PER_MESSAGE) {
      const to = Math.min(from + ELEMENTS_PER_MESSAGE, elements.length);
      this.#begin(MESSAGE_TYPES[operation], adding ? NLM_F_CREATE : 0, { change, from, to });
      writeElementList(this.#builder, set, elements, from, to, adding);
      this.#builder.end();
    }
  }

  #chain(change: NftChainChange): void {
    const { table, chain, rules } = change;
    const part = { change, from: 0, to: 0 };
    const named = (operation: number, flags: number, nameType: number): MessageBuilder =>
      writeNfgen(this.#begin(operation, flags, part), table.family)
        .attrString(NFTA_RULE_TABLE, table.name)
        .attrString(nameType, chain);
    named(NFT_MSG_NEWCHAIN, NLM_F_CREATE, NFTA_CHAIN_NAME).end();
    // Without a handle: all rules of the chain.
    named(NFT_MSG_DELRULE, 0, NFTA_RULE_CHAIN).end();
    for (const rule of rules) {
      named(NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, NFTA_RULE_CHAIN)
        .nest(NFTA_RULE_EXPRESSIONS, (list) => writeExpressions(list, rule))
        .end();
    }
  }
}

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
