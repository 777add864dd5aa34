import type { Status } from 'kubernetes-types/meta/v1.js';
import { ProtoMessage } from './message.ts';
import { ProtoReader, type ByteRange } from './reader.ts';

// What stands around an object: k8s.io/apimachinery/pkg/runtime/serializer/protobuf and pkg/runtime/generated.proto.

export const PROTOBUF = 'application/vnd.kubernetes.protobuf';
export const PREFIX = 'k8s\0';
/** Of runtime.Unknown. */
export const RAW = 2;
/** Of every list type. */
export const LIST_METADATA = 1;
export const LIST_ITEMS = 2;

const LIST_META = new ProtoMessage({ resourceVersion: [2, 'text'], continue: [3, 'text'] });
const STATUS = new ProtoMessage({
  status: [2, 'text'],
  message: [3, 'text'],
  reason: [4, 'text'],
  details: [
    5,
    {
      causes: [4, [{ reason: [1, 'text'], message: [2, 'text'], field: [3, 'text'] }]],
      retryAfterSeconds: [5, 'integer'],
    },
  ],
  code: [6, 'integer'],
});

/** A list as the API answers it in protobuf; of its items what `message` reads, each made when it is asked for. */
export interface ProtoListPage {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: Iterable<Record<string, unknown>>;
}

/** Throws API_BAD_PROTOBUF; so does whoever goes through the items. */
export function readListPage(doing: string, bytes: Buffer, message: ProtoMessage): ProtoListPage {
  const reader = new ProtoReader(doing, bytes);
  let metadata: ProtoListPage['metadata'] = {};
  const items: ByteRange[] = [];
  for (const { number, start, end } of reader.fields(rawOf(bytes, reader))) {
    if (number === LIST_METADATA) metadata = reader.message(LIST_META, { start, end });
    else if (number === LIST_ITEMS) items.push({ start, end });
  }
  // Another message that is taken for an empty list would delete everything.
  if (metadata.resourceVersion === undefined) throw reader.malformed();
  return { metadata, items: readItems(reader, message, items) };
}

function* readItems(
  reader: ProtoReader,
  message: ProtoMessage,
  items: readonly ByteRange[],
): Generator<Record<string, unknown>> {
  for (const item of items) yield reader.message(message, item);
}

/** What the API says in protobuf of a request that it refuses. */
export function readStatus(doing: string, bytes: Buffer): Partial<Status> {
  const reader = new ProtoReader(doing, bytes);
  return reader.message(STATUS, rawOf(bytes, reader));
}

function rawOf(bytes: Buffer, reader: ProtoReader): ByteRange {
  if (bytes.toString('latin1', 0, PREFIX.length) !== PREFIX) throw reader.malformed();
  for (const { number, start, end } of reader.fields({ start: PREFIX.length, end: bytes.length })) {
    if (number === RAW) return { start, end };
  }
  throw reader.malformed();
}
