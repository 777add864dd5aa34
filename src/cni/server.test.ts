import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../log/logger.ts';
import { encodeCall } from './protocol/frame.ts';
import { CniServer } from './server.ts';

const REQUEST = encodeCall({ environment: new Map([['CNI_COMMAND', 'ADD']]), stdin: Buffer.from('{}') });

let folder = '';
let stop = new AbortController();
let calls = 0;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'flatnet-cni-'));
  stop = new AbortController();
  calls = 0;
  // As a killed agent leaves it, or anybody else.
  writeFileSync(socketPath(), '');
  const handle = async (): Promise<{ exitCode: number; stdout: string }> => {
    calls += 1;
    return Promise.resolve({ exitCode: 0, stdout: 'done' });
  };
  const logger = createLogger('cni', 'silent');
  await CniServer.listen({ socketPath: socketPath(), handle, logger }, stop.signal);
});
afterEach(() => {
  stop.abort();
  rmSync(folder, { recursive: true, force: true });
});

const socketPath = (): string => join(folder, 'cni.sock');

/** Sends the pieces one after the other; resolves with standard output of the reply. */
async function talk(...pieces: readonly Buffer[]): Promise<string> {
  const socket = createConnection({ path: socketPath(), allowHalfOpen: true });
  const received: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => received.push(chunk));
  const replied = new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.once('end', resolve);
  });
  for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
  await replied;
  socket.destroy();
  const [receipt, reply] = [Buffer.concat(received).subarray(0, 4), Buffer.concat(received).subarray(12)];
  expect(receipt.toString('latin1')).toBe('FCN1');
  return reply.toString('utf8');
}

test('the socket is for root alone and takes the place of a file that was left', () => {
  const { mode } = statSync(socketPath());
  expect(mode & 0o777).toBe(0o600);
});

test('a request in pieces is answered once', async () => {
  expect(await talk(REQUEST.subarray(0, 3), REQUEST.subarray(3, 20), REQUEST.subarray(20))).toBe('done');
  expect(calls).toBe(1);
});

test('one that is far too large is told so, although it goes on sending', async () => {
  const announced = Buffer.from('FCN1\x7f\xff\xff\xff', 'latin1');
  const rest = Buffer.alloc(8 << 20);
  const reply = await talk(announced, rest);
  expect(JSON.parse(reply)).toMatchObject({ code: 6, msg: expect.stringContaining('2147483647 bytes') });
  expect(calls).toBe(0);
});

test('many at once all have their receipt before many of them are worked on', async () => {
  const sockets = Array.from({ length: 50 }, () =>
    createConnection({ path: socketPath(), allowHalfOpen: true }),
  );
  const callsAtReceipt = await Promise.all(
    sockets.map(async (socket) => {
      socket.write(REQUEST);
      return new Promise<number>((resolve, reject) => {
        socket.once('error', reject);
        socket.once('data', () => resolve(calls));
      });
    }),
  );
  expect(Math.max(...callsAtReceipt)).toBeLessThan(25);
  await vi.waitFor(() => expect(calls).toBe(50));
  for (const socket of sockets) socket.destroy();
});

/** Sends a request and goes away. */
async function giveUp(command: string): Promise<void> {
  const socket = createConnection({ path: socketPath() });
  const environment = new Map([['CNI_COMMAND', command]]);
  await new Promise((resolve) =>
    socket.write(encodeCall({ environment, stdin: Buffer.from('{}') }), resolve),
  );
  socket.destroy();
  await new Promise((resolve) => socket.once('close', resolve));
}

test('an ADD whose plugin has given up is not worked on; a DEL is', async () => {
  await giveUp('ADD');
  await giveUp('DEL');
  await vi.waitFor(() => expect(calls).toBe(1));
  expect(await talk(REQUEST)).toBe('done');
  expect(calls).toBe(2);
});
