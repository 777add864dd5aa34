import type { RawCompare, RawOperation } from './messages.ts';

/** What must be true at the moment of a transaction. */
export type Condition =
  | { readonly type: 'absent'; readonly key: string }
  /** No key in [`from`, `to`). */
  | { readonly type: 'none-in'; readonly from: string; readonly to: string }
  /** Not changed since the revision in which it was seen; 0: still absent. */
  | { readonly type: 'unchanged'; readonly key: string; readonly modRevision: number };

export type Operation =
  | {
      readonly type: 'put';
      readonly key: string;
      readonly value: string;
      /** `0`: without one, the key stays until it is deleted. */
      readonly leaseId: string;
    }
  | { readonly type: 'delete'; readonly key: string };

const EQUAL = 0;
const VERSION = 0;
const MOD = 2;

export function rawCondition(condition: Condition): RawCompare {
  switch (condition.type) {
    case 'absent':
      return { result: EQUAL, target: VERSION, key: Buffer.from(condition.key), version: '0' };
    case 'none-in': {
      const range = { key: Buffer.from(condition.from), range_end: Buffer.from(condition.to) };
      return { result: EQUAL, target: VERSION, ...range, version: '0' };
    }
    default: {
      const mod_revision = String(condition.modRevision);
      return { result: EQUAL, target: MOD, key: Buffer.from(condition.key), mod_revision };
    }
  }
}

export function rawOperation(operation: Operation): RawOperation {
  const key = Buffer.from(operation.key);
  if (operation.type === 'delete') return { request_delete_range: { key } };
  return { request_put: { key, value: Buffer.from(operation.value), lease: operation.leaseId } };
}
