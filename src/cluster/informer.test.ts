import type { ServerResponse } from 'node:http';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { ApiClient } from './api-client.ts';
import { Informer, type InformerHandler } from './informer.ts';
import { CONFIG_MAPS } from './resource-type.ts';
import { hangUp, refuse, UnrulyServer, valueOf } from './unruly-server.ts';

let server: UnrulyServer;
let client: ApiClient;
let abort: AbortController;
let running: Promise<void>[];

beforeEach(async () => {
  server = await UnrulyServer.start();
  client = new ApiClient(server.access());
  abort = new AbortController();
  running = [];
});

afterEach(async () => {
  abort.abort();
  await Promise.all(running);
  await client.close();
  await server.stop();
});

function startInformer(idleTimeoutMs?: number, project = valueOf): Informer<object, string> {
  const informer = new Informer<object, string>(client, CONFIG_MAPS, {
    project,
    backoff: { initialMs: 1, maxMs: 10 },
    idleTimeoutMs,
  });
  running.push(informer.run(abort.signal));
  return informer;
}

const content = (informer: Informer<object, string>): Record<string, string> =>
  Object.fromEntries([...informer.entries()].map(([key, value]) => [key.replace('default/', ''), value]));

const eventually = async (assertion: () => void): Promise<void> => {
  await vi.waitFor(assertion, { interval: 2, timeout: 4000 });
};

/** What a consumer knows who listens to the events alone; throws on an event that contradicts the ones before. */
function listener(log: string[]): { known: Map<string, string>; handler: InformerHandler<string> } {
  const known = new Map<string, string>();
  const handler: InformerHandler<string> = {
    added: (value, key) => {
      if (known.has(key)) log.push(`${key} added twice`);
      known.set(key, value);
    },
    updated: (value, old, key) => {
      if (known.get(key) !== old) log.push(`${key} updated from ${old}, which it was not`);
      known.set(key, value);
    },
    deleted: (old, key) => {
      if (known.get(key) !== old) log.push(`${key} deleted as ${old}, which it was not`);
      known.delete(key);
    },
  };
  return { known, handler };
}

describe('an informer', () => {
  test('lists in pages, then follows, and tells late subscribers what is there', async () => {
    for (let i = 0; i < 1203; i += 1) server.put(`item-${i}`, String(i));
    const informer = startInformer();
    expect(informer.hasSynced).toBe(false);
    await informer.synced();
    expect(informer.size).toBe(1203);
    expect(informer.get('default/item-1202')).toBe('1202');
    const lists = server.requests.filter(({ url }) => !url.searchParams.has('watch'));
    expect(lists.map(({ url }) => url.searchParams.get('limit'))).toEqual([
      '250',
      '250',
      '250',
      '250',
      '250',
    ]);

    const { known, handler } = listener([]);
    const unsubscribe = informer.subscribe(handler);
    expect(known.size).toBe(1203);
    server.put('item-0', 'changed');
    server.remove('item-1');
    await eventually(() => expect(known.get('default/item-0')).toBe('changed'));
    await eventually(() => expect(known.has('default/item-1')).toBe(false));
    unsubscribe();
    server.put('item-2', 'later');
    await eventually(() => expect(informer.get('default/item-2')).toBe('later'));
    expect(known.get('default/item-2')).toBe('2');
  });

  test('passes over an object that cannot be understood, keeps what was known of it, and follows the rest', async () => {
    server.put('good', '1');
    server.put('bad', 'unreadable');
    server.put('turns', '1');
    const informer = startInformer(undefined, (object) => {
      const value = valueOf(object);
      if (value === 'unreadable') throw new Error('what is this?');
      return value;
    });
    await informer.synced();
    expect(content(informer)).toEqual({ good: '1', turns: '1' });
    server.put('turns', 'unreadable');
    server.put('bad', 'mended');
    await eventually(() => expect(content(informer)).toEqual({ good: '1', turns: '1', bad: 'mended' }));
  });

  test('passes over what has no name, in a list and in a watch, and follows the rest', async () => {
    for (const name of ['', 5, { a: 1 }]) server.put(name as string, 'nameless');
    server.put('first', '1');
    const informer = startInformer();
    await informer.synced();
    expect(content(informer)).toEqual({ first: '1' });
    server.put('', 'again');
    server.put('second', '2');
    await eventually(() => expect(content(informer)).toEqual({ first: '1', second: '2' }));
  });

  test('delivers deletions that happened while it was disconnected and history was compacted', async () => {
    server.put('kept', '1');
    server.put('lost', '1');
    const informer = startInformer();
    await informer.synced();
    await eventually(() => expect(server.watchCount).toBe(1));
    const gone: string[] = [];
    const seen: string[] = [];
    informer.subscribe({
      deleted: (old, key) => gone.push(`${key}=${old}`),
      updated: (_, __, key) => seen.push(key),
    });
    server.misbehave(hangUp, hangUp);
    server.dropWatches();
    server.remove('lost');
    server.compact();
    await eventually(() => expect(gone).toEqual(['default/lost=1']));
    // What did not change is not told again.
    expect(seen).toEqual([]);
  });

  test('goes on from the last bookmark without listing again', async () => {
    server.put('a', '1');
    const informer = startInformer();
    await informer.synced();
    await eventually(() => expect(server.watchCount).toBe(1));
    for (let i = 0; i < 5; i += 1) server.put('a', String(i));
    server.bookmark();
    await eventually(() => expect(informer.get('default/a')).toBe('4'));
    server.requests.length = 0;
    server.dropWatches();
    await eventually(() => expect(server.watchCount).toBe(1));
    expect(server.requests.map(({ url }) => url.searchParams.get('resourceVersion'))).toEqual(['106']);
  });

  test('survives a continuation that expires between two pages', async () => {
    for (let i = 0; i < 600; i += 1) server.put(`item-${i}`, 'x');
    server.misbehave(
      () => false,
      (_, response) => {
        refuse(response, 410, 'Expired');
        return true;
      },
    );
    const informer = startInformer();
    await informer.synced();
    expect(informer.size).toBe(600);
  });

  test('notices a connection on which nothing comes any more', async () => {
    server.put('a', '1');
    const informer = startInformer(60);
    await informer.synced();
    await eventually(() => expect(server.watchCount).toBe(1));
    server.freezeWatches();
    server.put('a', '2');
    server.thaw();
    await eventually(() => expect(informer.get('default/a')).toBe('2'));
    expect(informer.failure).toBeUndefined();
  });

  test('tells why it cannot follow, and forgets it when it can', async () => {
    server.misbehave(
      ...Array.from({ length: 40 }, () => (_: unknown, response: ServerResponse) => {
        refuse(response, 403, 'Forbidden');
        return true;
      }),
    );
    const informer = startInformer();
    await eventually(() => expect(informer.failure).toMatchObject({ code: 'HTTP_403', reason: 'Forbidden' }));
    await informer.synced();
    expect(informer.failure).toBeUndefined();
  });

  test('keeps the other handlers going when one throws', async () => {
    const informer = startInformer();
    const added: string[] = [];
    informer.subscribe({
      added: () => {
        throw new Error('a mistake');
      },
    });
    informer.subscribe({ added: (_, key) => added.push(key) });
    await informer.synced();
    server.put('a', '1');
    await eventually(() => expect(added).toEqual(['default/a']));
  });

  test('stops waiting for the first list when the waiter gives up', async () => {
    const informer = new Informer<object, string>(client, CONFIG_MAPS, { project: valueOf });
    const waiter = new AbortController();
    const waiting = informer.synced(waiter.signal);
    waiter.abort(new Error('no more patience'));
    await expect(waiting).rejects.toThrow('no more patience');
  });
});

type Step =
  | { readonly do: 'put'; readonly name: string; readonly value: string }
  | { readonly do: 'remove'; readonly name: string }
  | { readonly do: 'drop' | 'end' | 'compact' | 'bookmark' | 'hangUp' | 'freeze' | 'breathe' };

const NAMES = fc.constantFrom('a', 'b', 'c', 'd');
const STEPS = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('put' as const), name: NAMES, value: fc.string() }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), name: NAMES }) },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('drop', 'end', 'compact', 'bookmark', 'hangUp', 'breathe'),
      }) as fc.Arbitrary<Step>,
    },
    // Costs the time of a silence, so it is drawn seldom.
    { weight: 1, arbitrary: fc.constant<Step>({ do: 'freeze' }) },
  ),
  { maxLength: 20 },
);

async function perform(step: Step): Promise<void> {
  switch (step.do) {
    case 'put':
      server.put(step.name, step.value);
      break;
    case 'remove':
      server.remove(step.name);
      break;
    case 'drop':
      server.dropWatches();
      break;
    case 'end':
      server.endWatches();
      break;
    case 'compact':
      server.compact();
      break;
    case 'bookmark':
      server.bookmark();
      break;
    case 'hangUp':
      server.misbehave(hangUp);
      break;
    case 'freeze':
      server.freezeWatches();
      break;
    case 'breathe':
      // Lets the informer act in the middle of the history.
      await new Promise(setImmediate);
      await new Promise(setImmediate);
      break;
  }
}

test('whatever happens on the server and on the way, in the end the informer and its listeners know it', async () => {
  const informer = startInformer(60);
  const contradictions: string[] = [];
  const { known, handler } = listener(contradictions);
  informer.subscribe(handler);
  await fc.assert(
    fc.asyncProperty(STEPS, async (steps) => {
      for (const step of steps) await perform(step);
      server.thaw();
      await eventually(() => expect(content(informer)).toEqual(server.content()));
      expect(new Map(informer.entries())).toEqual(known);
      expect(contradictions).toEqual([]);
    }),
    { numRuns: 25 },
  );
}, 30_000);
