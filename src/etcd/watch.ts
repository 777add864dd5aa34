import { status, type ClientDuplexStream } from '@grpc/grpc-js';
import { EtcdError } from './etcd-error.ts';
import { keyValue, type KeyValue } from './key-value.ts';
import { prefixEnd, type KeyRange } from './key-range.ts';
import type { WatchRequest, WatchResponse } from './messages.ts';

export type WatchEvent =
  | { readonly type: 'put'; readonly keyValue: KeyValue }
  | { readonly type: 'delete'; readonly key: string; readonly revision: number };

export interface WatchBatch {
  /** In the order of the store's history. */
  readonly events: readonly WatchEvent[];
  /** The watch is complete up to here. */
  readonly revision: number;
}

/** Throws ServiceError or EtcdError when the watch ends otherwise than by the signal. */
export async function* watchBatches(
  call: ClientDuplexStream<WatchRequest, WatchResponse>,
  range: KeyRange,
  fromRevision: number,
  signal: AbortSignal,
): AsyncGenerator<WatchBatch> {
  const cancel = (): void => call.cancel();
  // After the loop has ended nobody else hears that the call was cancelled.
  call.on('error', () => undefined);
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  try {
    call.write({
      create_request: {
        key: Buffer.from(range.key),
        ...(range.isPrefix ? { range_end: prefixEnd(range.key) } : {}),
        start_revision: String(fromRevision),
        // Every ten minutes without an event: what is remembered must not grow older than etcd's compactions.
        progress_notify: true,
      },
    });
    for await (const response of call as AsyncIterable<WatchResponse>) {
      if (response.canceled) throw cancelled(range, response);
      const revision = Number(response.header?.revision ?? 0);
      if (response.created) {
        if (revision < fromRevision - 1) throw rewound(range, fromRevision - 1, revision);
        // It names the store's revision, though older events may still be on their way.
        yield { events: [], revision: fromRevision - 1 };
      } else yield { events: response.events.map(watchEvent), revision };
    }
    throw new EtcdError(`watching ${range.key}`, status.UNAVAILABLE, 'etcd ended the watch');
  } finally {
    signal.removeEventListener('abort', cancel);
    call.cancel();
  }
}

function watchEvent({ type, kv }: WatchResponse['events'][number]): WatchEvent {
  if (type === 0) return { type: 'put', keyValue: keyValue(kv) };
  return { type: 'delete', key: kv.key.toString(), revision: Number(kv.mod_revision) };
}

/** Otherwise the watch would wait in silence until the new history has grown as long as the old one. */
function rewound(range: KeyRange, known: number, revision: number): EtcdError {
  const words = `etcd is at revision ${revision} and was at ${known}: another database, or an old copy of it`;
  return new EtcdError(`watching ${range.key}`, status.DATA_LOSS, words);
}

function cancelled(range: KeyRange, response: WatchResponse): EtcdError {
  const doing = `watching ${range.key}`;
  if (response.compact_revision !== '0') {
    return new EtcdError(
      doing,
      status.OUT_OF_RANGE,
      `required revision has been compacted (${response.compact_revision})`,
    );
  }
  const reason = response.cancel_reason === '' ? 'etcd cancelled the watch' : response.cancel_reason;
  return new EtcdError(doing, status.UNAVAILABLE, reason);
}
