import type { ProtoReader } from './reader.ts';

/**
 * What is read of a field: text, int32, bool; of a map of texts the values at some keys; of a message some fields, or
 * what a function makes of it; a list of one for what may stand there repeatedly.
 */
type ProtoKind = 'text' | 'integer' | 'boolean' | ProtoMap | ReadMessage | readonly [ProtoKind] | ProtoFields;

/** Reads a message that ends at `end`, for the sake of time: what there are a hundred thousand of. */
type ReadMessage = (reader: ProtoReader, end: number) => unknown;

/** By name in JSON: number and kind. */
export interface ProtoFields {
  readonly [name: string]: readonly [number: number, kind: ProtoKind];
}

/** A map of texts, of which only these keys (of ASCII, as those of labels are) are read. */
export class ProtoMap {
  readonly keys: readonly string[];

  constructor(...keys: string[]) {
    this.keys = keys;
  }
}

/** One field, made ready for reading. */
export interface ProtoField {
  readonly name: string;
  readonly repeated: boolean;
  readonly type: 'text' | 'integer' | 'boolean' | 'map' | 'message' | 'read';
  /** Of a map. */
  readonly keys: readonly string[];
  /** Of a message. */
  readonly message: ProtoMessage | undefined;
  readonly read: ReadMessage | undefined;
}

/**
 * What is read of a message of Kubernetes' protobuf form (generated.proto of k8s.io/api): the fields that are named,
 * under their names in JSON. Others are passed over without being looked at.
 */
export class ProtoMessage {
  /** By number. */
  readonly fields: readonly (ProtoField | undefined)[];

  constructor(fields: ProtoFields) {
    const byNumber: (ProtoField | undefined)[] = [];
    for (const [name, [number, kind]] of Object.entries(fields)) byNumber[number] = fieldOf(name, kind);
    // Without holes, so that looking one up stays cheap.
    this.fields = Array.from(byNumber);
  }
}

function fieldOf(name: string, kind: ProtoKind): ProtoField {
  if (isRepeated(kind)) return { ...fieldOf(name, kind[0]), repeated: true };
  const plain = { name, repeated: false, keys: [], message: undefined, read: undefined };
  if (typeof kind === 'string') return { ...plain, type: kind };
  if (typeof kind === 'function') return { ...plain, type: 'read', read: kind };
  if (kind instanceof ProtoMap) return { ...plain, type: 'map', keys: kind.keys };
  return { ...plain, type: 'message', message: new ProtoMessage(kind) };
}

function isRepeated(kind: ProtoKind): kind is readonly [ProtoKind] {
  return Array.isArray(kind);
}
