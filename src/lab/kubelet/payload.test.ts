import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolveInRoot } from './path-in-root.ts';
import { writePayload } from './payload.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flatnet-payload-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

function payload(files: Readonly<Record<string, string>>) {
  return new Map(
    Object.entries(files).map(([path, text]) => [path, { content: Buffer.from(text), mode: 0o640 }]),
  );
}

const visible = (): string[] =>
  readdirSync(folder)
    .filter((name) => !name.startsWith('..'))
    .sort();

describe('writePayload', () => {
  test('changes all files at once and leaves none of the old ones', () => {
    writePayload(folder, payload({ a: '1', 'deep/b': '2' }));
    expect(readFileSync(join(folder, 'deep/b'), 'utf8')).toBe('2');
    expect(statSync(join(folder, 'a')).mode & 0o777).toBe(0o640);
    writePayload(folder, payload({ a: '3', c: '4' }));
    expect(visible()).toEqual(['a', 'c']);
    expect(readFileSync(join(folder, 'a'), 'utf8')).toBe('3');
    expect(readdirSync(folder).filter((name) => name.startsWith('..'))).toHaveLength(2);
  });

  test('what has not changed is not written again', () => {
    writePayload(folder, payload({ a: '1' }));
    const before = statSync(join(folder, 'a')).ino;
    writePayload(folder, payload({ a: '1' }));
    expect(statSync(join(folder, 'a')).ino).toBe(before);
  });
});

test('links are followed within the root, never out of it', () => {
  mkdirSync(join(folder, 'run'));
  mkdirSync(join(folder, 'var'));
  symlinkSync('/run', join(folder, 'var', 'run'));
  symlinkSync('../../../../etc', join(folder, 'run', 'up'));
  symlinkSync('loop', join(folder, 'loop'));
  expect(resolveInRoot(folder, '/var/run/x')).toBe('/run/x');
  expect(resolveInRoot(folder, 'var/run/up/passwd')).toBe('/etc/passwd');
  expect(resolveInRoot(folder, '/../../x')).toBe('/x');
  expect(resolveInRoot(folder, '/loop')).toBe('/loop');
});
