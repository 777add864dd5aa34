import { LIST_ITEMS, LIST_METADATA, PREFIX, RAW } from './list-page.ts';
import { ProtoMessage, type ProtoField } from './message.ts';
import { DELIMITED, VARINT } from './reader.ts';

// For servers, which here are those of tests and benchmarks.

/** What a server that has protobuf answers in JSON's place. */
export function encodeAnswer(message: ProtoMessage, object: object): Buffer {
  return envelope(encodeMessage(message, object));
}

/** A list of items that are encoded already. */
export function encodeListAnswer(
  metadata: { readonly resourceVersion?: string; readonly continue?: string },
  items: readonly Buffer[],
): Buffer {
  const encoded = encodeMessage(LIST_META, metadata);
  return envelope(
    Buffer.concat([delimited(LIST_METADATA, encoded), ...items.map((item) => delimited(LIST_ITEMS, item))]),
  );
}

/** Fields in the order of their numbers, as Go writes them. */
export function encodeMessage({ fields }: ProtoMessage, object: object): Buffer {
  const values = object as Readonly<Record<string, unknown>>;
  return Buffer.concat(
    fields.flatMap((field, number) =>
      field === undefined ? [] : encodeField(field, number, values[field.name]),
    ),
  );
}

const LIST_META = new ProtoMessage({ resourceVersion: [2, 'text'], continue: [3, 'text'] });
const ENTRY = new ProtoMessage({ key: [1, 'text'], value: [2, 'text'] });

function envelope(raw: Buffer): Buffer {
  return Buffer.concat([Buffer.from(PREFIX, 'latin1'), delimited(RAW, raw)]);
}

function encodeField(field: ProtoField, number: number, value: unknown): Buffer[] {
  if (value === undefined || value === null) return [];
  const values = field.repeated ? (value as unknown[]) : [value];
  return values.flatMap((one) => encodeValue(field, number, one));
}

function encodeValue({ type, message }: ProtoField, number: number, value: unknown): Buffer | Buffer[] {
  if (type === 'text') return delimited(number, Buffer.from(value as string));
  if (type === 'map') {
    return Object.entries(value as Record<string, string>).map(([key, text]) =>
      delimited(number, encodeMessage(ENTRY, { key, value: text })),
    );
  }
  if (message !== undefined) return delimited(number, encodeMessage(message, value as object));
  return Buffer.concat([varint((number << 3) | VARINT), varint(Number(value))]);
}

function delimited(number: number, bytes: Buffer): Buffer {
  return Buffer.concat([varint((number << 3) | DELIMITED), varint(bytes.length), bytes]);
}

/** Negative numbers as 64 bits. */
function varint(value: number): Buffer {
  if (value >= 0 && value < 0x80) return Buffer.of(value);
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
