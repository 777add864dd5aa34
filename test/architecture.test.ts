import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { expect, test } from 'vitest';

const SRC = join(import.meta.dirname, '..', 'src');

/** Rooms from the ground up; a room may import from rooms of lower rank and, within a rank, only from itself. */
const RANKS: readonly (readonly string[])[] = [
  ['errors', 'log', 'timing'],
  ['net', 'command-line'],
  ['kernel', 'cluster', 'etcd'],
  ['reconcile'],
  ['podnet', 'cni', 'proxy', 'policy', 'ingress', 'dns'],
  ['agent', 'doctor', 'trace', 'verify'],
  ['lab'],
  ['bench'],
  ['cli'],
];

const IS_TEST = /\.(test|kernel|uml)\.ts$/;
const RANK_OF = new Map(RANKS.flatMap((rooms, rank) => rooms.map((room) => [room, rank] as const)));

function sourceFiles(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) =>
    relative(SRC, join(SRC, file, '..', match[1] ?? '')),
  );
}

const roomOf = (file: string): string => file.split(sep)[0] ?? '';

test('every source file stands in a known room', () => {
  const files = sourceFiles();
  expect(files.length).toBeGreaterThan(10);
  expect(files.filter((file) => !RANK_OF.has(roomOf(file)))).toEqual([]);
});

test('imports run one way', () => {
  let scanned = 0;
  const wrong: string[] = [];
  for (const file of sourceFiles()) {
    for (const target of importsOf(file)) {
      scanned += 1;
      const from = roomOf(file);
      const to = roomOf(target);
      // Tests may run the suites that several backends share.
      const shared = IS_TEST.test(file) && target.startsWith(join('..', 'test', 'conformance'));
      const manifest = from === 'cli' && target === join('..', 'package.json');
      const allowed =
        shared || manifest || from === to || (RANK_OF.get(to) ?? Infinity) < (RANK_OF.get(from) ?? -1);
      if (!allowed) wrong.push(`${file} imports ${target}`);
    }
  }
  expect(scanned).toBeGreaterThan(5);
  expect(wrong).toEqual([]);
});

test('no barrel files, and no rooms without a noun', () => {
  const names = sourceFiles().map((file) => file.split(sep).at(-1) ?? '');
  expect(names.filter((name) => /^(index|utils?|helpers?|common|misc)\.ts$/.test(name))).toEqual([]);
});
