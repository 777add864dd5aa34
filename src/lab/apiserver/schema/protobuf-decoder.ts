import type { Json, JsonObject } from '../json/json.ts';
import { badRequest } from '../json/status-error.ts';
import { tableGroup, type TableField, type TableType, tableType } from './type-table.ts';

// Kubernetes' protobuf form: four bytes of magic, then a runtime.Unknown with apiVersion, kind and the object.
// kubectl 1.33 sends it for `kubectl create` of built-in kinds; answers are JSON all the same.

const MAGIC = Buffer.from('k8s\0');
const LENGTH_DELIMITED = 2;

// Go's encoder writes fields that are not pointers even when they are zero. Integers whose zero means something
// are pointers in Go; every other zero was left out by the user.
const MEANINGFUL_ZEROS = new Set([
  'replicas',
  'terminationGracePeriodSeconds',
  'gracePeriodSeconds',
  'revisionHistoryLimit',
  'progressDeadlineSeconds',
  'activeDeadlineSeconds',
  'expirationSeconds',
  'defaultMode',
  'runAsUser',
  'runAsGroup',
  'fsGroup',
]);
const PLAIN_BOOLEANS = new Set([
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'stdin',
  'stdinOnce',
  'tty',
  'readOnly',
  'publishNotReadyAddresses',
  'paused',
  'unschedulable',
]);

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  varint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#bytes[this.#at];
      if (byte === undefined) break;
      this.#at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw badRequest('protobuf: a number does not end');
  }

  bytes(): Buffer {
    const size = Number(this.varint());
    if (this.#at + size > this.#bytes.length) throw badRequest('protobuf: the body is cut short');
    this.#at += size;
    return this.#bytes.subarray(this.#at - size, this.#at);
  }

  double(): number {
    if (this.#at + 8 > this.#bytes.length) throw badRequest('protobuf: the body is cut short');
    this.#at += 8;
    return this.#bytes.readDoubleLE(this.#at - 8);
  }
}

type Raw = bigint | number | Buffer;

function* rawFields(bytes: Buffer): Generator<[number: number, value: Raw]> {
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = Number(reader.varint());
    const wire = tag & 7;
    const number = tag >>> 3;
    if (wire === 0) yield [number, reader.varint()];
    else if (wire === 1) yield [number, reader.double()];
    else if (wire === LENGTH_DELIMITED) yield [number, reader.bytes()];
    else throw badRequest(`protobuf: wire type ${wire} is not known`);
  }
}

function field(bytes: Buffer, number: number): Raw | undefined {
  let found: Raw | undefined;
  for (const [one, value] of rawFields(bytes)) if (one === number) found = value;
  return found;
}

const asBytes = (value: Raw | undefined): Buffer => (Buffer.isBuffer(value) ? value : Buffer.alloc(0));
const asInteger = (value: Raw | undefined): number =>
  typeof value === 'bigint' ? Number(BigInt.asIntN(64, value)) : Number(value ?? 0);

/** The object in a body of type application/vnd.kubernetes.protobuf, as its JSON would be. */
export function decodeProtobuf(body: Buffer): JsonObject {
  if (!body.subarray(0, 4).equals(MAGIC)) throw badRequest('the body is not Kubernetes protobuf');
  const unknown = body.subarray(4);
  const typeMeta = asBytes(field(unknown, 1));
  const apiVersion = asBytes(field(typeMeta, 1)).toString();
  const kind = asBytes(field(typeMeta, 2)).toString();
  const [version, group = ''] = apiVersion.split('/').reverse();
  // DeleteOptions travels under the version of the kind that is deleted.
  const type =
    kind === 'DeleteOptions'
      ? tableType('meta.v1.DeleteOptions')
      : tableType(`${tableGroup(group)}.${version ?? ''}.${kind}`);
  if (type === undefined)
    throw badRequest(`no kind "${kind}" is registered for version "${apiVersion}" in protobuf`);
  return { apiVersion, kind, ...decodeMessage(asBytes(field(unknown, 2)), type) };
}

function decodeMessage(bytes: Buffer, type: TableType): JsonObject {
  const result: JsonObject = {};
  for (const [number, raw] of rawFields(bytes)) {
    const known = type.fields.find((one) => one.number === number);
    if (known === undefined) continue;
    if (known.container === 'map') addMapEntry(result, known, asBytes(raw));
    else if (known.container === 'list') addItem(result, known, raw);
    else if (known.name === '') Object.assign(result, decodeInline(known, raw));
    else {
      const value = decodeValue(known.type, raw);
      if (value !== undefined && !isLeftOut(known, value)) result[known.name] = value;
    }
  }
  return result;
}

function decodeInline(known: TableField, raw: Raw): JsonObject {
  const type = tableType(known.type);
  return type === undefined ? {} : decodeMessage(asBytes(raw), type);
}

function isLeftOut(known: TableField, value: Json): boolean {
  if (value === '') return true;
  if (value === 0) return known.type === 'i' && !MEANINGFUL_ZEROS.has(known.name);
  return value === false && PLAIN_BOOLEANS.has(known.name);
}

function addItem(result: JsonObject, known: TableField, raw: Raw): void {
  const list = (result[known.name] ??= []) as Json[];
  list.push(decodeValue(known.type, raw) ?? null);
}

function addMapEntry(result: JsonObject, known: TableField, entry: Buffer): void {
  const map = (result[known.name] ??= {}) as JsonObject;
  const key = asBytes(field(entry, 1)).toString();
  const value = field(entry, 2) ?? Buffer.alloc(0);
  map[key] = known.listOfValues
    ? [...rawFields(asBytes(value))].map(([, item]) => asBytes(item).toString())
    : (decodeValue(known.type, value) ?? '');
}

function decodeValue(type: string, raw: Raw): Json | undefined {
  switch (type) {
    case 's':
      return asBytes(raw).toString('utf8');
    case 'i':
      return asInteger(raw);
    case 'f':
      return Number(raw);
    case 'b':
      return raw === 1n;
    case 'y':
      return asBytes(raw).toString('base64');
    case 'Q':
      return asBytes(field(asBytes(raw), 1)).toString();
    case 'I':
      return decodeIntOrString(asBytes(raw));
    case 'T':
    case 'M':
      return decodeTime(asBytes(raw), type === 'M');
    case 'J':
      return decodeEmbeddedJson(asBytes(raw));
    default: {
      const nested = tableType(type);
      return nested === undefined ? undefined : decodeMessage(asBytes(raw), nested);
    }
  }
}

function decodeIntOrString(bytes: Buffer): Json {
  return asInteger(field(bytes, 1)) === 0 ? asInteger(field(bytes, 2)) : asBytes(field(bytes, 3)).toString();
}

function decodeTime(bytes: Buffer, micro: boolean): Json | undefined {
  const seconds = field(bytes, 1);
  if (seconds === undefined) return undefined;
  const text = new Date(asInteger(seconds) * 1000).toISOString().slice(0, 19);
  const micros = Math.floor(asInteger(field(bytes, 2)) / 1000);
  return micro ? `${text}.${String(micros).padStart(6, '0')}Z` : `${text}Z`;
}

function decodeEmbeddedJson(bytes: Buffer): Json | undefined {
  const raw = asBytes(field(bytes, 1)).toString();
  try {
    return JSON.parse(raw) as Json;
  } catch {
    return undefined;
  }
}
