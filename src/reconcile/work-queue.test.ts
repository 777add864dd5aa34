import fc from 'fast-check';
import { describe, expect, test, vi } from 'vitest';
import { WorkQueue } from './work-queue.ts';

const eventually = async (assertion: () => void): Promise<void> => {
  await vi.waitFor(assertion, { interval: 1, timeout: 2000 });
};

async function running<T>(queue: WorkQueue, act: () => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const run = queue.run(abort.signal);
  try {
    return await act();
  } finally {
    abort.abort();
    await run;
  }
}

describe('a work queue', () => {
  test('takes a key that waits only once, and once more when it changes during its work', async () => {
    const seen: string[] = [];
    const open: (() => void)[] = [];
    const queue = new WorkQueue({
      name: 'test',
      process: async (key) => {
        seen.push(key);
        await new Promise<void>((resolve) => {
          open.push(resolve);
        });
      },
    });
    queue.add('a');
    queue.add('a');
    await running(queue, async () => {
      await eventually(() => expect(seen).toEqual(['a']));
      queue.add('a');
      queue.add('a');
      expect(queue.depth).toBe(1);
      open.shift()?.();
      await eventually(() => expect(seen).toEqual(['a', 'a']));
      open.shift()?.();
      await eventually(() => expect(queue.depth).toBe(0));
    });
    expect(seen).toEqual(['a', 'a']);
  });

  test('brings a failed key back until it succeeds, and the others do not wait for it', async () => {
    let failures = 3;
    const done: string[] = [];
    const queue = new WorkQueue({
      name: 'test',
      initialBackoffMs: 1,
      process: async (key) => {
        if (key === 'bad' && failures > 0) {
          failures -= 1;
          throw new Error('not yet');
        }
        done.push(key);
      },
    });
    queue.add('bad');
    queue.add('good');
    await running(queue, () => eventually(() => expect(done).toEqual(['good', 'bad'])));
  });

  test('the later of two times set for a key counts', async () => {
    const done: string[] = [];
    const queue = new WorkQueue({ name: 'test', process: async (key) => void done.push(key) });
    await running(queue, async () => {
      queue.addAfter('a', 60_000);
      queue.addAfter('a', 1);
      await eventually(() => expect(done).toEqual(['a']));
    });
  });

  test('never works on one key twice at once, nor on more keys than allowed, and forgets none', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.nat(5), { maxLength: 60 }),
        fc.integer({ min: 1, max: 4 }),
        async (keys, limit) => {
          const active = new Set<string>();
          const versions = new Map<string, number>();
          const handled = new Map<string, number>();
          let worst = 0;
          const queue = new WorkQueue({
            name: 'test',
            concurrency: limit,
            process: async (key) => {
              if (active.has(key)) throw new Error(`${key} twice at once`);
              active.add(key);
              worst = Math.max(worst, active.size);
              const version = versions.get(key) ?? 0;
              await new Promise(setImmediate);
              handled.set(key, version);
              active.delete(key);
            },
          });
          await running(queue, async () => {
            for (const [position, number] of keys.entries()) {
              versions.set(`k${number}`, position);
              queue.add(`k${number}`);
              if (position % 3 === 0) await new Promise(setImmediate);
            }
            // What was handled last is what was last there.
            await eventually(() => expect(handled).toEqual(versions));
          });
          expect(worst).toBeLessThanOrEqual(limit);
        },
      ),
      { numRuns: 30 },
    );
  });

  test('ends when told, after the work under way', async () => {
    let ended = false;
    const abort = new AbortController();
    const queue = new WorkQueue({
      name: 'test',
      process: async () => {
        abort.abort();
        await new Promise(setImmediate);
        ended = true;
      },
    });
    queue.add('a');
    queue.add('b');
    await queue.run(abort.signal);
    expect(ended).toBe(true);
    expect(queue.depth).toBe(1);
  });
});
