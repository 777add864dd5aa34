import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { whyNotReady } from './why-not-ready.ts';

/** A port of the loopback at which an agent answers so; nobody listens where there is nothing to answer. */
async function agent(answer: string | undefined): Promise<number> {
  const server = createServer((_, response) => response.end(answer)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const closed = once(server, 'close');
  if (answer === undefined) server.close();
  else onTestFinished(() => void server.close());
  if (answer === undefined) await closed;
  return port;
}

const line = (level: string, msg: string, error?: string): string =>
  `${JSON.stringify({ level, name: 'agent', msg, error })}\n`;

test.each<[string, string | undefined, string, string | undefined]>([
  ['the agent waits', '{"waitsFor":"no ipip here"}', line('error', 'old'), 'node-1: no ipip here'],
  ['the agent is content', '{}', line('info', 'ready'), undefined],
  [
    'it has ended',
    undefined,
    line('error', 'cannot', 'no room') + line('info', 'x'),
    'node-1: cannot: no room',
  ],
  ['it has not begun', undefined, '', undefined],
  ['it is something else', 'hello', 'noise\n{"level":"error"', undefined],
])('%s', async (_, answer, log, expected) => {
  const folder = mkdtempSync(join(tmpdir(), 'fnt-why-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = join(folder, 'agent.log');
  if (log !== '') writeFileSync(path, log);
  const node = { name: 'node-1', addresses: ['127.0.0.1'] };
  expect(await whyNotReady(node, path, await agent(answer))).toBe(expected);
});
