import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { sleep } from '../../timing/backoff.ts';
import { watchFile } from './file-watch.ts';

let folder = '';
let stop = new AbortController();
let calls = 0;
let watching: Promise<void>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-file-watch-'));
  stop = new AbortController();
  calls = 0;
});

afterEach(async () => {
  stop.abort();
  await watching;
  rmSync(folder, { recursive: true });
});

function watch(path: string): void {
  watching = watchFile(path, () => (calls += 1), stop.signal);
}

/** Resolves to the number of calls when it is that, at last. */
const callsUntil = async (times: number): Promise<number> =>
  vi.waitFor(
    () => {
      if (calls !== times) throw new Error(`called ${calls} times, not ${times}`);
      return calls;
    },
    { timeout: 3000, interval: 10 },
  );

describe('a file is followed', () => {
  test('past what is no file at all: a folder, a pipe, an endless device', async () => {
    const file = join(folder, 'config.conf');
    writeFileSync(file, 'a');
    watch(file);
    expect(await callsUntil(1)).toBe(1);
    const others = [
      () => mkdirSync(file),
      () => execFileSync('mkfifo', [file]),
      () => symlinkSync('/dev/zero', file),
    ];
    for (const make of others) {
      rmSync(file, { recursive: true });
      make();
      await sleep(150);
    }
    rmSync(file);
    writeFileSync(file, 'b');
    expect(await callsUntil(2)).toBe(2);
  });

  test('that is written in place, and that is replaced', async () => {
    const file = join(folder, 'config.conf');
    writeFileSync(file, 'a');
    watch(file);
    expect(await callsUntil(1)).toBe(1);
    writeFileSync(file, 'b');
    expect(await callsUntil(2)).toBe(2);
    writeFileSync(`${file}.new`, 'c');
    renameSync(`${file}.new`, file);
    expect(await callsUntil(3)).toBe(3);
  });

  test('of a ConfigMap, whose folder ..data is replaced', async () => {
    for (const name of ['..1', '..2']) {
      mkdirSync(join(folder, name));
      writeFileSync(join(folder, name, 'config.conf'), name);
    }
    symlinkSync('..1', join(folder, '..data'));
    symlinkSync('..data/config.conf', join(folder, 'config.conf'));
    watch(join(folder, 'config.conf'));
    expect(await callsUntil(1)).toBe(1);
    symlinkSync('..2', join(folder, '..data_tmp'));
    renameSync(join(folder, '..data_tmp'), join(folder, '..data'));
    expect(await callsUntil(2)).toBe(2);
  });

  test('and not told of where its content is the same, or while it is gone', async () => {
    const file = join(folder, 'config.conf');
    writeFileSync(file, 'a');
    watch(file);
    expect(await callsUntil(1)).toBe(1);
    rmSync(file);
    writeFileSync(file, 'a');
    writeFileSync(join(folder, 'other'), 'x');
    await sleep(300);
    writeFileSync(file, 'b');
    expect(await callsUntil(2)).toBe(2);
  });
});
