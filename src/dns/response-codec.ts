import {
  CLASS_IN,
  RecordType,
  UDP_PAYLOAD_SIZE,
  type ExtendedError,
  type Query,
  type ResourceRecord,
  type Response,
} from './record.ts';
import { HEADER_LENGTH, type Header } from './query-codec.ts';

const CLASSIC_UDP_SIZE = 512;
const TCP_SIZE = 65_535;
const OPTION_EXTENDED_ERROR = 15;
const POINTER = 0xc000;
const TRUNCATED = 0x02;

export type Transport = 'udp' | 'tcp';

/** Octets that an answer to `query` may have (RFC 6891 section 6.2.5). */
export function sizeLimit(query: Query, transport: Transport): number {
  if (transport === 'tcp') return TCP_SIZE;
  if (query.edns === undefined) return CLASSIC_UDP_SIZE;
  return Math.max(CLASSIC_UDP_SIZE, Math.min(query.edns.udpPayloadSize, UDP_PAYLOAD_SIZE));
}

/**
 * Writes a response of at most `limit` octets. dns-packet writes names without compression (RFC 1035 section
 * 4.1.4), which would truncate a headless Service at 8 addresses instead of 28; hence this writer.
 * Additional records that do not fit are left out; answers that do not fit set TC (RFC 2181 section 9).
 */
export function encodeResponse(
  query: Query,
  response: Response,
  options: { readonly limit: number; readonly recursionAvailable: boolean },
): Buffer {
  const opt = query.edns === undefined ? undefined : encodeOpt(query, response);
  const writer = new MessageWriter(options.limit - (opt?.length ?? 0));
  writer.begin(query.question);
  const answers = writer.records(response.answers);
  const whole = answers === response.answers.length;
  const authorities = whole ? writer.records(response.authorities) : 0;
  const truncated = !whole || authorities < response.authorities.length;
  const additionals = truncated ? 0 : writer.records(response.additionals);
  if (opt !== undefined) writer.append(opt);
  const packet = writer.finish();
  const high = responseFlags(query) | (response.authoritative ? 0x04 : 0) | (truncated ? TRUNCATED : 0);
  packet.writeUInt16BE(query.id, 0);
  packet[2] = high;
  packet[3] =
    (options.recursionAvailable ? 0x80 : 0) | (query.checkingDisabled ? 0x10 : 0) | (response.rcode & 0x0f);
  packet.writeUInt16BE(1, 4);
  packet.writeUInt16BE(answers, 6);
  packet.writeUInt16BE(authorities, 8);
  packet.writeUInt16BE(additionals + (opt === undefined ? 0 : 1), 10);
  return packet;
}

/** A bare header with an error code: the answer to what could not be read. */
export function encodeError(header: Header, rcode: number): Buffer {
  const packet = Buffer.alloc(HEADER_LENGTH);
  packet.writeUInt16BE(header.id, 0);
  packet[2] = responseFlags(header);
  packet[3] = rcode & 0x0f;
  return packet;
}

/** "Ask again over TCP": the question and TC, nothing else. */
export function encodeTruncated(query: Query): Buffer {
  const packet = Buffer.concat([encodeError(query, 0), query.question.raw]);
  packet[2] = (packet[2] ?? 0) | TRUNCATED;
  packet[3] = 0x80;
  packet.writeUInt16BE(1, 4);
  return packet;
}

function responseFlags(header: Header): number {
  return 0x80 | (header.opcode << 3) | (header.recursionDesired ? 0x01 : 0);
}

function encodeOpt(query: Query, response: Response): Buffer {
  const options =
    response.extendedError === undefined ? Buffer.alloc(0) : encodeExtendedError(response.extendedError);
  const opt = Buffer.alloc(11 + options.length);
  opt.writeUInt16BE(RecordType.OPT, 1);
  opt.writeUInt16BE(UDP_PAYLOAD_SIZE, 3);
  opt[5] = response.rcode >> 4;
  // RFC 3225 section 3: the DO bit is copied to the response.
  opt[7] = query.edns?.dnssecOk === true ? 0x80 : 0;
  opt.writeUInt16BE(options.length, 9);
  options.copy(opt, 11);
  return opt;
}

function encodeExtendedError(error: ExtendedError): Buffer {
  const text = Buffer.from(error.text, 'utf8');
  const option = Buffer.alloc(6 + text.length);
  option.writeUInt16BE(OPTION_EXTENDED_ERROR, 0);
  option.writeUInt16BE(2 + text.length, 2);
  option.writeUInt16BE(error.code, 4);
  text.copy(option, 6);
  return option;
}

// One scratch area for all messages: encoding is synchronous and `finish` copies out.
const scratch = Buffer.alloc(TCP_SIZE + 512);

class MessageWriter {
  readonly #limit: number;
  /** Offsets of names already written, by name. */
  readonly #offsets = new Map<string, number>();
  #questionName = '';
  /** The question, until its suffixes are first looked for: most answers only need its whole name. */
  #unread: Uint8Array | undefined;
  #at = HEADER_LENGTH;

  constructor(limit: number) {
    this.#limit = limit;
  }

  begin(question: Query['question']): void {
    scratch.fill(0, 0, HEADER_LENGTH);
    scratch.set(question.raw, HEADER_LENGTH);
    // A dot inside a label would read as two labels; such a name is none of ours and needs no pointer.
    const plain = question.labels.every((label) => !label.includes('.'));
    this.#questionName = plain ? question.labels.join('.') : '';
    this.#unread = plain ? question.raw : undefined;
    this.#at = HEADER_LENGTH + question.raw.length;
  }

  // Suffixes of the question are pointed at only in the case in which they were asked, so that our own names
  // (the zone in an SOA) are not shown in the asker's random case; the owner itself always points there.
  #rememberQuestion(raw: Uint8Array): void {
    const bytes = Buffer.from(raw.buffer, raw.byteOffset, raw.byteLength);
    const starts: number[] = [];
    const labels: string[] = [];
    for (let at = 0; (bytes[at] ?? 0) !== 0; at += 1 + (bytes[at] ?? 0)) {
      starts.push(at);
      labels.push(bytes.toString('latin1', at + 1, at + 1 + (bytes[at] ?? 0)));
    }
    let suffix = '';
    for (let i = labels.length - 1; i >= 0; i -= 1) {
      suffix = suffix === '' ? (labels[i] ?? '') : `${labels[i]}.${suffix}`;
      this.#offsets.set(suffix, HEADER_LENGTH + (starts[i] ?? 0));
    }
  }

  /** Writes as many whole records as fit and returns their number. */
  records(list: readonly ResourceRecord[]): number {
    let count = 0;
    for (const record of list) {
      const before = this.#at;
      // No single record of ours is longer than three names and their numbers.
      if (before + 1024 > scratch.length) break;
      this.#record(record);
      if (this.#at > this.#limit) {
        this.#at = before;
        // Names remembered past the end are gone again.
        for (const [name, offset] of this.#offsets) if (offset >= before) this.#offsets.delete(name);
        break;
      }
      count += 1;
    }
    return count;
  }

  append(bytes: Buffer): void {
    scratch.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  finish(): Buffer {
    return Buffer.from(scratch.subarray(0, this.#at));
  }

  #record(record: ResourceRecord): void {
    this.#name(record.name, true);
    this.#uint16(RecordType[record.type]);
    this.#uint16(CLASS_IN);
    scratch.writeUInt32BE(record.ttl, this.#at);
    this.#at += 6;
    const start = this.#at;
    this.#data(record);
    scratch.writeUInt16BE(this.#at - start, start - 2);
  }

  #data(record: ResourceRecord): void {
    switch (record.type) {
      case 'A':
      case 'AAAA':
        this.append(Buffer.from(record.address.toBytes()));
        return;
      case 'CNAME':
      case 'PTR':
      case 'NS':
        this.#name(record.target, true);
        return;
      case 'SRV':
        this.#uint16(record.priority);
        this.#uint16(record.weight);
        this.#uint16(record.port);
        // RFC 2782: the target is not compressed.
        this.#name(record.target, false);
        return;
      case 'TXT':
        for (const text of record.texts) this.#text(text);
        return;
      case 'SOA':
        this.#name(record.primary, true);
        this.#name(record.mailbox, true);
        for (const field of [record.serial, record.refresh, record.retry, record.expire, record.minimum]) {
          scratch.writeUInt32BE(field >>> 0, this.#at);
          this.#at += 4;
        }
        return;
    }
  }

  #text(text: string): void {
    const length = scratch.write(text, this.#at + 1, 255, 'utf8');
    scratch[this.#at] = length;
    this.#at += 1 + length;
  }

  #uint16(value: number): void {
    scratch.writeUInt16BE(value, this.#at);
    this.#at += 2;
  }

  #name(name: string, compress: boolean): void {
    if (compress && name === this.#questionName && name !== '') {
      this.#uint16(POINTER | HEADER_LENGTH);
      return;
    }
    if (this.#unread !== undefined) {
      this.#rememberQuestion(this.#unread);
      this.#unread = undefined;
    }
    let rest = name;
    while (rest !== '') {
      const known = compress ? this.#offsets.get(rest) : undefined;
      if (known !== undefined) {
        this.#uint16(POINTER | known);
        return;
      }
      // A pointer has 14 bits.
      if (this.#at < 0x4000 && !this.#offsets.has(rest)) this.#offsets.set(rest, this.#at);
      const dot = rest.indexOf('.');
      const label = dot < 0 ? rest : rest.slice(0, dot);
      scratch[this.#at] = scratch.write(label, this.#at + 1, 63, 'latin1');
      this.#at += 1 + (scratch[this.#at] ?? 0);
      rest = dot < 0 ? '' : rest.slice(dot + 1);
    }
    scratch[this.#at] = 0;
    this.#at += 1;
  }
}
