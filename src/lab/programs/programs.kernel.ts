import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { retry } from '../../timing/backoff.ts';

// Each program as a process of its own, as a container has it, asked over loopback.
const children: ChildProcess[] = [];
let folder = '';
let command = '';

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fnt-programs-'));
  command = join(folder, 'flatnet.mjs');
  const root = join(import.meta.dirname, '..', '..', '..');
  const banner =
    "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  await build({
    stdin: {
      contents:
        "import { command } from './src/cli/program.ts'; await command().parseAsync(['node', 'program', ...process.argv.slice(2)]);",
      resolveDir: root,
    },
    outfile: command,
    bundle: true,
    format: 'esm',
    platform: 'node',
    banner: { js: banner },
  });
});

afterEach(async () => {
  for (const child of children.splice(0)) await end(child, 'SIGKILL');
});

afterAll(async () => rm(folder, { recursive: true, force: true }));

function start(file: string, ...args: string[]): ChildProcess {
  const child = spawn(file, args, { stdio: 'ignore' });
  children.push(child);
  return child;
}

function program(...args: string[]): ChildProcess {
  return start(process.execPath, command, ...args);
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
  return child.exitCode;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function get(
  port: number,
  path: string,
  init?: RequestInit,
): Promise<{ status: number; text: string }> {
  const response = await retry(async () => fetch(`http://127.0.0.1:${port}${path}`, init), {
    initialMs: 20,
    maxMs: 100,
    attempts: 60,
    shouldRetry: (error) => String((error as Error).cause).includes('ECONNREFUSED'),
  });
  return { status: response.status, text: await response.text() };
}

test('netexec answers, dials and, told to end, finishes what it was asked', async () => {
  const [http, udp] = [await freePort(), await freePort()];
  const child = program('netexec', `--http-port=${http}`, '--udp-port', String(udp));
  expect((await get(http, '/healthz')).status).toBe(200);
  expect(await get(http, '/echo?msg=hi&code=503')).toEqual({ status: 503, text: 'hi' });
  expect((await get(http, '/clientip')).text).toMatch(/^127\.0\.0\.1:\d+$/);
  const own = (await get(http, '/hostname')).text;
  const dial = `/dial?host=127.0.0.1&port=${udp}&protocol=udp&request=hostname&tries=3`;
  expect(JSON.parse((await get(http, dial)).text)).toEqual({ responses: [own, own, own] });
  const closed = await freePort();
  const failed = JSON.parse((await get(http, `/dial?host=127.0.0.1&port=${closed}&request=x`)).text) as {
    errors: string[];
  };
  expect(failed.errors.join()).toContain('ECONNREFUSED');
  const inWork = get(http, '/shell?cmd=sleep%200.6%3B%20echo%20done');
  await get(http, '/');
  child.kill('SIGTERM');
  expect(JSON.parse((await inWork).text)).toEqual({ output: 'done\n' });
  if (child.exitCode === null) await once(child, 'exit');
  expect(child.exitCode).toBe(0);
});

test('netexec ends with the code that it is told', async () => {
  const http = await freePort();
  const child = program('netexec', `--http-port=${http}`, '--udp-port=-1');
  const exited = once(child, 'exit');
  await get(http, '/exit?code=7&timeout=1s');
  await exited;
  expect(child.exitCode).toBe(7);
});

test('serve-hostname', async () => {
  const port = await freePort();
  const child = program('serve-hostname', '--port', String(port));
  expect((await get(port, '/anything')).status).toBe(200);
  expect(await end(child, 'SIGTERM')).toBe(0);
});

test('the guestbook: page, API and store; without the store it says so and recovers', async () => {
  const [store, api, frontend] = [await freePort(), await freePort(), await freePort()];
  const redis = (): ChildProcess =>
    start('redis-server', '--port', String(store), '--bind', '127.0.0.1', '--save', '', '--dir', folder);
  const first = redis();
  program('guestbook', 'api', `--port=${api}`, `--store=127.0.0.1:${store}`);
  program('guestbook', 'frontend', `--port=${frontend}`, `--api=http://127.0.0.1:${api}`);
  await get(api, '/readyz');
  await expect.poll(async () => (await get(frontend, '/api/messages')).status, { timeout: 5000 }).toBe(200);
  const body = JSON.stringify({ name: 'Ada <b>', text: 'Grüße' });
  expect((await get(frontend, '/api/messages', { method: 'POST', body })).status).toBe(201);
  expect((await get(frontend, '/api/messages', { method: 'POST', body: '{}' })).status).toBe(422);
  const form = new URLSearchParams({ name: 'Linus', text: 'by form' });
  expect((await get(frontend, '/', { method: 'POST', body: form })).text).toContain('by form');
  const page = (await get(frontend, '/')).text;
  expect(page).toContain('Ada &lt;b&gt;');
  expect(page).toContain('Grüße');
  await end(first, 'SIGTERM');
  const away = await get(frontend, '/api/messages');
  expect(away.status).toBe(503);
  expect(away.text).toContain(`The store 127.0.0.1:${store} cannot be used`);
  expect((await get(frontend, '/')).text).toContain('cannot be used');
  redis();
  await expect.poll(async () => (await get(frontend, '/api/messages')).status, { timeout: 5000 }).toBe(200);
});
