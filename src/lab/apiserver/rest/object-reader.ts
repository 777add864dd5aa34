import type { ServerResponse } from 'node:http';
import { type Call, sendText } from '../http/call.ts';
import type { JsonObject } from '../json/json.ts';
import { notFound, StatusError } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { storageKey, type StoredObject } from '../store/stored-object.ts';
import { encodeContinuation, expiredContinuation, type ListQuery } from './list-query.ts';
import type { Renderer } from './renderer.ts';

const CHUNK_CHARACTERS = 256 * 1024;

export function getStored(definition: ResourceDefinition, namespace: string, name: string): StoredObject {
  const stored = definition.store.get(storageKey(namespace, name));
  if (stored === undefined) throw notFound(definition.group, definition.resource, name);
  return stored;
}

/** What one page holds. */
interface Page {
  readonly items: StoredObject[];
  readonly metadata: JsonObject;
}

export function selectPage(definition: ResourceDefinition, namespace: string, query: ListQuery): Page {
  const { store } = definition;
  const revision = query.continuation?.revision ?? store.revision;
  if (query.continuation !== undefined && !store.covers(revision)) throw expiredContinuation();
  if (query.revision !== undefined && query.revision > store.revision)
    throw tooLarge(query.revision, store.revision);
  const items: StoredObject[] = [];
  const metadata: JsonObject = { resourceVersion: String(revision) };
  for (const stored of store.objects(namespace, query.continuation?.after ?? '')) {
    if (query.matches?.(stored) === false) continue;
    if (query.limit > 0 && items.length === query.limit) {
      metadata['continue'] = encodeContinuation({ revision, after: items.at(-1)?.key ?? '' });
      // Only without selectors is it known without looking at them all.
      if (query.matches === undefined)
        metadata['remainingItemCount'] = remaining(definition, namespace, stored.key);
      break;
    }
    items.push(stored);
  }
  return { items, metadata };
}

function remaining(definition: ResourceDefinition, namespace: string, from: string): number {
  let count = 1;
  for (const _ of definition.store.objects(namespace, from)) count += 1;
  return count;
}

function tooLarge(asked: number, current: number): StatusError {
  return new StatusError(504, 'Timeout', `Too large resource version: ${asked}, current: ${current}`, {
    retryAfterSeconds: 1,
  });
}

/** Sends a list in chunks, so that a list of 10,000 objects never stands in memory as one string. */
export async function sendList(call: Call, renderer: Renderer, page: Page): Promise<void> {
  const now = Date.now();
  const head = renderer.listHead(page.metadata);
  if (page.items.length <= 64) {
    const items = page.items.map((stored) => renderer.listItem(stored, now));
    sendText(call.response, 200, `${head}${items.join(',')}]}\n`);
    return;
  }
  const { response } = call;
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-cache, private' });
  let chunk = head;
  let first = true;
  for (const stored of page.items) {
    chunk += first ? renderer.listItem(stored, now) : `,${renderer.listItem(stored, now)}`;
    first = false;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    const room = response.write(chunk);
    chunk = '';
    if (!room && !response.destroyed) await roomToWrite(response);
    if (response.destroyed) return;
  }
  response.end(`${chunk}]}\n`);
}

/** Resolves when the client has read on, or is gone. */
function roomToWrite(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.on('drain', done);
    response.on('close', done);
  });
}
