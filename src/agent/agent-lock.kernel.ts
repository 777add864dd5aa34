import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { holdAgentLock } from './agent-lock.ts';

let folder = '';
let path = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-lock-'));
  path = join(folder, 'run', 'cni.sock.lock');
});

afterEach(() => rmSync(folder, { recursive: true }));

test('a second agent is refused, and told who is there', async () => {
  const first = new AbortController();
  await holdAgentLock(path, first.signal);
  await expect(holdAgentLock(path, new AbortController().signal, 0)).rejects.toThrow(
    `another agent (process ${process.pid}) works on this node: it holds ${path}`,
  );
  first.abort();
});

test('one that starts while the first ends takes its place', async () => {
  const first = new AbortController();
  const second = new AbortController();
  await holdAgentLock(path, first.signal);
  const waiting = holdAgentLock(path, second.signal);
  first.abort();
  await waiting;
  await expect(holdAgentLock(path, first.signal, 0)).rejects.toThrow('another agent');
  second.abort();
});
