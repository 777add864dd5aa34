import { FlatnetError } from '../../errors/flatnet-error.ts';

// The netlink wire format of <linux/netlink.h> and RFC 3549 section 2.3. Numbers are in host order, which is
// little-endian on every platform that Node.js runs on with Linux and koffi; *Be methods are for those few
// attributes that carry network order.

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_ECHO = 0x8;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;

export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

const HEADER_LENGTH = 16;
const ATTRIBUTE_HEADER_LENGTH = 4;
const ATTRIBUTE_MAX_LENGTH = 0xffff;

const align = (length: number): number => (length + 3) & ~3;

export interface NetlinkMessage {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  /** Port id of the socket that the message answers; 0 in multicast messages of the kernel. */
  readonly pid: number;
  /** What follows the header: the family's fixed part and attributes. A view, not a copy. */
  readonly body: Buffer;
}

/** Splits a datagram into its messages. Throws EBADMSG when a length leads outside. */
export function decodeMessages(data: Buffer): NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + HEADER_LENGTH <= data.length;) {
    const length = data.readUInt32LE(at);
    if (length < HEADER_LENGTH || at + length > data.length) throw malformed(`message of ${length} bytes`);
    messages.push({
      type: data.readUInt16LE(at + 4),
      flags: data.readUInt16LE(at + 6),
      seq: data.readUInt32LE(at + 8),
      pid: data.readUInt32LE(at + 12),
      body: data.subarray(at + HEADER_LENGTH, at + length),
    });
    at += align(length);
  }
  return messages;
}

/** What the kernel said to one request: an acknowledgement (errno 0) or an error. */
export interface NetlinkAck {
  /** Positive errno, 0 for success. */
  readonly errno: number;
  /** Sequence number of the request that this answers. */
  readonly seq: number;
  /** NLMSGERR_ATTR_MSG: the kernel's own words (also possible as a warning beside success). */
  readonly message?: string;
  /** NLMSGERR_ATTR_OFFS: where in the request (from its header) the refused attribute starts. */
  readonly offset?: number;
  /** NLMSGERR_ATTR_MISS_TYPE: the attribute type that the request should have had. */
  readonly missingType?: number;
}

/** Decodes NLMSG_ERROR, and NLMSG_DONE of a dump (whose body starts with the dump's errno). */
export function decodeAck(message: NetlinkMessage): NetlinkAck {
  const { body } = message;
  const errno = body.length >= 4 ? -body.readInt32LE(0) : 0;
  const base = { errno: errno === 0 ? 0 : errno, seq: message.seq };
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return base;
  let at = 4;
  if (message.type === NLMSG_ERROR) {
    const capped = (message.flags & NLM_F_CAPPED) !== 0 || errno === 0;
    at += capped ? HEADER_LENGTH : align(body.readUInt32LE(4));
  }
  const attributes = Attributes.parse(body, at);
  const text = attributes.string(1);
  const offset = attributes.u32(2);
  const missingType = attributes.u32(5);
  return {
    ...base,
    ...(text === undefined ? {} : { message: text }),
    ...(offset === undefined ? {} : { offset }),
    ...(missingType === undefined ? {} : { missingType }),
  };
}

/**
 * Writes one or many messages into one growing buffer. Call `begin`, the fixed part (`u8` … `bytes`), attributes
 * (`attr…`, `nest`), `end`; repeat for a batch; `finish` gives the bytes. For the payload alone (what
 * `NetlinkSocket.request` takes) leave `begin` and `end` out.
 */
export class MessageBuilder {
  #data: Buffer;
  #length = 0;
  #start = -1;

  constructor(initialCapacity = 512) {
    this.#data = Buffer.allocUnsafe(initialCapacity);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Starts a message; its header's length is filled in by `end`. */
  begin(type: number, flags: number, seq: number): this {
    if (this.#start !== -1) throw malformed('begin inside a message');
    const at = this.#reserve(HEADER_LENGTH);
    this.#start = at;
    this.#data.writeUInt32LE(0, at);
    this.#data.writeUInt16LE(type, at + 4);
    this.#data.writeUInt16LE(flags, at + 6);
    this.#data.writeUInt32LE(seq, at + 8);
    this.#data.writeUInt32LE(0, at + 12);
    return this;
  }

  end(): this {
    if (this.#start === -1) throw malformed('end outside a message');
    this.#data.writeUInt32LE(this.#length - this.#start, this.#start);
    this.#pad();
    this.#start = -1;
    return this;
  }

  u8(value: number): this {
    const at = this.#reserve(1);
    this.#data.writeUInt8(value, at);
    return this;
  }

  u16(value: number): this {
    const at = this.#reserve(2);
    this.#data.writeUInt16LE(value, at);
    return this;
  }

  u16be(value: number): this {
    const at = this.#reserve(2);
    this.#data.writeUInt16BE(value, at);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#data.writeUInt32LE(value >>> 0, at);
    return this;
  }

  u32be(value: number): this {
    const at = this.#reserve(4);
    this.#data.writeUInt32BE(value >>> 0, at);
    return this;
  }

  i32(value: number): this {
    const at = this.#reserve(4);
    this.#data.writeInt32LE(value, at);
    return this;
  }

  bytes(value: Uint8Array): this {
    const at = this.#reserve(value.length);
    this.#data.set(value, at);
    return this;
  }

  attrU8(type: number, value: number): this {
    this.#attribute(type, 1);
    return this.u8(value).#pad();
  }

  attrU16(type: number, value: number): this {
    this.#attribute(type, 2);
    return this.u16(value).#pad();
  }

  attrU16be(type: number, value: number): this {
    this.#attribute(type, 2);
    return this.u16be(value).#pad();
  }

  attrU32(type: number, value: number): this {
    this.#attribute(type, 4);
    return this.u32(value);
  }

  attrU32be(type: number, value: number): this {
    this.#attribute(type, 4);
    return this.u32be(value);
  }

  attrI32(type: number, value: number): this {
    this.#attribute(type, 4);
    return this.i32(value);
  }

  attrU64(type: number, value: bigint): this {
    this.#attribute(type, 8);
    const at = this.#reserve(8);
    this.#data.writeBigUInt64LE(value, at);
    return this;
  }

  attrU64be(type: number, value: bigint): this {
    this.#attribute(type, 8);
    const at = this.#reserve(8);
    this.#data.writeBigUInt64BE(value, at);
    return this;
  }

  /** NUL-terminated, as rtnetlink and nfnetlink expect strings. Throws EINVAL when `value` contains a NUL. */
  attrString(type: number, value: string): this {
    if (value.includes('\0')) throw new FlatnetError(`"${value}" contains a NUL byte`, { code: 'EINVAL' });
    const size = Buffer.byteLength(value);
    this.#attribute(type, size + 1);
    const at = this.#reserve(size + 1);
    this.#data.write(value, at);
    this.#data[at + size] = 0;
    return this.#pad();
  }

  attrBytes(type: number, value: Uint8Array): this {
    this.#attribute(type, value.length);
    return this.bytes(value).#pad();
  }

  /** An attribute without payload. */
  attrFlag(type: number): this {
    this.#attribute(type, 0);
    return this;
  }

  /** An attribute that contains what `fill` writes; NLA_F_NESTED is set. At most 65,535 bytes with its header. */
  nest(type: number, fill: (builder: this) => void): this {
    const mark = this.beginNest(type);
    fill(this);
    return this.endNest(mark);
  }

  /** As `nest` without a closure, for hot loops: give the returned mark to `endNest`. */
  beginNest(type: number): number {
    const at = this.#reserve(ATTRIBUTE_HEADER_LENGTH);
    this.#data.writeUInt16LE(0, at);
    this.#data.writeUInt16LE(type | NLA_F_NESTED, at + 2);
    return at;
  }

  endNest(mark: number): this {
    const length = this.#length - mark;
    if (length > ATTRIBUTE_MAX_LENGTH) throw malformed(`nested attribute of ${length} bytes`);
    this.#data.writeUInt16LE(length, mark);
    return this.#pad();
  }

  /** The bytes written so far. A view: write nothing more into this builder while it is in use. */
  finish(): Buffer {
    if (this.#start !== -1) throw malformed('finish inside a message');
    return this.#data.subarray(0, this.#length);
  }

  #attribute(type: number, payload: number): void {
    const length = ATTRIBUTE_HEADER_LENGTH + payload;
    if (length > ATTRIBUTE_MAX_LENGTH) throw malformed(`attribute of ${length} bytes`);
    const at = this.#reserve(ATTRIBUTE_HEADER_LENGTH);
    this.#data.writeUInt16LE(length, at);
    this.#data.writeUInt16LE(type, at + 2);
  }

  #pad(): this {
    const missing = align(this.#length) - this.#length;
    const at = this.#reserve(missing);
    this.#data.fill(0, at, at + missing);
    return this;
  }

  /** Makes room and returns where it starts. Call it before touching `#data`, which it may replace. */
  #reserve(count: number): number {
    const at = this.#length;
    const needed = at + count;
    if (needed > this.#data.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#data.length * 2));
      this.#data.copy(grown, 0, 0, at);
      this.#data = grown;
    }
    this.#length = needed;
    return at;
  }
}

/** One message around a payload. */
export function encodeMessage(type: number, flags: number, seq: number, body: Uint8Array): Buffer {
  return new MessageBuilder(HEADER_LENGTH + align(body.length))
    .begin(type, flags, seq)
    .bytes(body)
    .end()
    .finish();
}

/** The attributes of one message or of one nest. Values are views of the datagram, made when they are asked for. */
export class Attributes {
  readonly #data: Buffer;
  /** Where each begins, by type. */
  readonly #places: ReadonlyMap<number, number>;

  private constructor(data: Buffer, places: ReadonlyMap<number, number>) {
    this.#data = data;
    this.#places = places;
  }

  /** Reads the attributes from `offset` to the end. Throws EBADMSG when a length leads outside. */
  static parse(data: Buffer, offset = 0): Attributes {
    const places = new Map<number, number>();
    for (let at = offset; at + ATTRIBUTE_HEADER_LENGTH <= data.length; at += align(data.readUInt16LE(at))) {
      checkLength(data, at);
      places.set(data.readUInt16LE(at + 2) & NLA_TYPE_MASK, at);
    }
    return new Attributes(data, places);
  }

  has(type: number): boolean {
    return this.#places.has(type);
  }

  types(): number[] {
    return [...this.#places.keys()];
  }

  bytes(type: number): Buffer | undefined {
    const at = this.#places.get(type);
    if (at === undefined) return undefined;
    return this.#data.subarray(at + ATTRIBUTE_HEADER_LENGTH, at + this.#data.readUInt16LE(at));
  }

  u8(type: number): number | undefined {
    const at = this.#sized(type, 1);
    return at === undefined ? undefined : this.#data.readUInt8(at);
  }

  u16(type: number): number | undefined {
    const at = this.#sized(type, 2);
    return at === undefined ? undefined : this.#data.readUInt16LE(at);
  }

  u16be(type: number): number | undefined {
    const at = this.#sized(type, 2);
    return at === undefined ? undefined : this.#data.readUInt16BE(at);
  }

  u32(type: number): number | undefined {
    const at = this.#sized(type, 4);
    return at === undefined ? undefined : this.#data.readUInt32LE(at);
  }

  u32be(type: number): number | undefined {
    const at = this.#sized(type, 4);
    return at === undefined ? undefined : this.#data.readUInt32BE(at);
  }

  i32(type: number): number | undefined {
    const at = this.#sized(type, 4);
    return at === undefined ? undefined : this.#data.readInt32LE(at);
  }

  u64(type: number): bigint | undefined {
    const at = this.#sized(type, 8);
    return at === undefined ? undefined : this.#data.readBigUInt64LE(at);
  }

  u64be(type: number): bigint | undefined {
    const at = this.#sized(type, 8);
    return at === undefined ? undefined : this.#data.readBigUInt64BE(at);
  }

  /** Text up to the first NUL. */
  string(type: number): string | undefined {
    const at = this.#places.get(type);
    if (at === undefined) return undefined;
    const [start, end] = [at + ATTRIBUTE_HEADER_LENGTH, at + this.#data.readUInt16LE(at)];
    const terminator = this.#data.indexOf(0, start);
    return this.#data.toString('utf8', start, terminator === -1 ? end : Math.min(terminator, end));
  }

  nested(type: number): Attributes | undefined {
    const value = this.bytes(type);
    return value === undefined ? undefined : Attributes.parse(value);
  }

  /** The members of a list (NLA_NESTED_ARRAY: same or counting types), in order. */
  list(type: number): { readonly type: number; readonly value: Buffer }[] {
    const value = this.bytes(type);
    return value === undefined ? [] : listAttributes(value, 0);
  }

  /** Where the value begins. */
  #sized(type: number, size: number): number | undefined {
    const at = this.#places.get(type);
    if (at === undefined) return undefined;
    const length = this.#data.readUInt16LE(at) - ATTRIBUTE_HEADER_LENGTH;
    if (length < size) throw malformed(`attribute ${type} of ${length} bytes`);
    return at + ATTRIBUTE_HEADER_LENGTH;
  }
}

/** Attributes in order, without looking into them; types without the NLA_F_ bits. */
export function listAttributes(
  data: Buffer,
  offset = 0,
): { readonly type: number; readonly value: Buffer }[] {
  const found: { type: number; value: Buffer }[] = [];
  for (let at = offset; at + ATTRIBUTE_HEADER_LENGTH <= data.length;) {
    const length = checkLength(data, at);
    const type = data.readUInt16LE(at + 2) & NLA_TYPE_MASK;
    found.push({ type, value: data.subarray(at + ATTRIBUTE_HEADER_LENGTH, at + length) });
    at += align(length);
  }
  return found;
}

/** Length of the attribute, its header included, that begins there. */
function checkLength(data: Buffer, at: number): number {
  const length = data.readUInt16LE(at);
  if (length < ATTRIBUTE_HEADER_LENGTH || at + length > data.length)
    throw malformed(`attribute of ${length} bytes`);
  return length;
}

function malformed(what: string): FlatnetError {
  return new FlatnetError(`malformed netlink data: ${what}`, { code: 'EBADMSG' });
}
