import type { RawKeyValue } from './messages.ts';

export interface KeyValue {
  readonly key: string;
  readonly value: string;
  /** The store's revision when this key was made: of two keys the one with the smaller number was first. */
  readonly createRevision: number;
  /** The store's revision at the last change of this key. */
  readonly modRevision: number;
  /** Decimal; `0` for a key that does not expire. */
  readonly leaseId: string;
}

export interface KeyList {
  readonly keys: readonly KeyValue[];
  /** The store's revision that the list shows; a watch goes on at the next one. */
  readonly revision: number;
}

export function keyValue(raw: RawKeyValue): KeyValue {
  return {
    key: raw.key.toString(),
    value: raw.value.toString(),
    createRevision: Number(raw.create_revision),
    modRevision: Number(raw.mod_revision),
    leaseId: raw.lease,
  };
}
