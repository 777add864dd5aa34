import { decode as decodePacket } from 'dns-packet';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import { RecordType, UDP_PAYLOAD_SIZE, type Edns, type Query, type Question } from './record.ts';

export const HEADER_LENGTH = 12;
const MAX_NAME_LENGTH = 255;
const QUESTION_TAIL = 4;

/** What can be said of any packet with a whole header. */
export interface Header {
  readonly id: number;
  readonly opcode: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
}

export type Decoded =
  | { readonly kind: 'query'; readonly query: Query }
  /** To be answered with FORMERR. */
  | { readonly kind: 'malformed'; readonly header: Header; readonly reason: string }
  /** To be answered with NOTIMP: an opcode other than QUERY. */
  | { readonly kind: 'unsupported'; readonly header: Header }
  /** Not to be answered at all: no whole header, or itself a response (answering those makes loops). */
  | { readonly kind: 'ignored' };

/** Reads a query off the wire (RFC 1035 section 4.1). Never throws. */
export function decodeQuery(packet: Buffer): Decoded {
  if (packet.length < HEADER_LENGTH) return { kind: 'ignored' };
  const high = packet[2] ?? 0;
  if ((high & 0x80) !== 0) return { kind: 'ignored' };
  const header: Header = {
    id: packet.readUInt16BE(0),
    opcode: (high >> 3) & 0x0f,
    recursionDesired: (high & 0x01) !== 0,
    checkingDisabled: ((packet[3] ?? 0) & 0x10) !== 0,
  };
  if (header.opcode !== 0) return { kind: 'unsupported', header };
  try {
    return { kind: 'query', query: { ...header, ...decodeBody(packet) } };
  } catch (error) {
    return { kind: 'malformed', header, reason: describeError(error) };
  }
}

function decodeBody(packet: Buffer): { question: Question; edns: Edns | undefined } {
  const counts = [4, 6, 8].map((offset) => packet.readUInt16BE(offset));
  // Checked before anything is allocated: a header may promise 65,535 records that are not there.
  if (counts[0] !== 1 || counts[1] !== 0 || counts[2] !== 0) {
    throw malformed(`a query has one question and no answers, not ${counts.join('/')}`);
  }
  const question = decodeQuestion(packet, HEADER_LENGTH);
  const additionals = packet.readUInt16BE(10);
  if (additionals === 0) return { question, edns: undefined };
  if (additionals > packet.length) throw malformed('more additional records than octets');
  return { question, edns: decodeEdns(packet) };
}

/** Reads the question at `offset`; throws MALFORMED_DNS. Compression has nothing to point at in a first name. */
export function decodeQuestion(packet: Buffer, offset: number): Question {
  const labels: string[] = [];
  let at = offset;
  for (;;) {
    const length = packet[at];
    if (length === undefined) throw malformed('the name runs past the end of the packet');
    if (length > 63) throw malformed('the name has a label that is compressed or longer than 63 octets');
    at += 1;
    if (length === 0) break;
    labels.push(packet.toString('latin1', at, at + length).toLowerCase());
    at += length;
    if (at - offset >= MAX_NAME_LENGTH) throw malformed('the name is longer than 255 octets');
  }
  if (at + QUESTION_TAIL > packet.length) throw malformed('the question has no type or class');
  return {
    labels,
    type: packet.readUInt16BE(at),
    class: packet.readUInt16BE(at + 2),
    raw: packet.subarray(offset, at + QUESTION_TAIL),
  };
}

function decodeEdns(packet: Buffer): Edns | undefined {
  const options = (decodePacket(packet).additionals ?? []).filter((record) => record.type === 'OPT');
  const option = options[0];
  if (option === undefined) return undefined;
  // RFC 6891 section 6.1.1: more than one OPT is FORMERR.
  if (options.length > 1) throw malformed('more than one OPT record');
  return {
    version: option.ednsVersion,
    udpPayloadSize: option.udpPayloadSize,
    dnssecOk: option.flag_do,
  };
}

/** A query as a stub resolver sends it, for asking upstream on our own account. */
export function encodeQuery(id: number, name: string, type: number): Buffer {
  const head = Buffer.alloc(HEADER_LENGTH);
  head.writeUInt16BE(id, 0);
  head[2] = 0x01;
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(1, 10);
  const labels = name.split('.').map((label) => Buffer.from(`\0${label}`, 'latin1'));
  for (const label of labels) label[0] = label.length - 1;
  const tail = Buffer.alloc(1 + QUESTION_TAIL + 11);
  tail.writeUInt16BE(type, 1);
  tail.writeUInt16BE(1, 3);
  tail.writeUInt16BE(RecordType.OPT, 6);
  tail.writeUInt16BE(UDP_PAYLOAD_SIZE, 8);
  return Buffer.concat([head, ...labels, tail]);
}

function malformed(message: string): FlatnetError {
  return new FlatnetError(message, { code: 'MALFORMED_DNS' });
}
