import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tool } from '../node/tool.ts';
import { wgetScript } from './wget-script.ts';

// /slow never answers; everything else says which path was asked for, and with which header.
let server: Server;
let url = '';

beforeAll(async () => {
  server = createServer((request, response) => {
    if (request.url !== '/slow')
      response.end(`${request.url ?? ''} ${request.headersDistinct['x-word']?.join() ?? ''}`.trim());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

async function wget(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    execFile('sh', ['-c', wgetScript(tool('busybox')), 'wget', ...args], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

test.each([[['-T', '5']], [['-T5']], [['--timeout=5']], [['--timeout', '5']], [[]]])(
  '%j leaves the other arguments as they are',
  async (timeout) => {
    expect(await wget('-q', ...timeout, '-O', '-', '--header', 'X-Word: -T 1', `${url}/a%20b`)).toEqual({
      code: 0,
      stdout: '/a%20b -T 1',
      stderr: '',
    });
  },
);

test('a server that does not answer ends it after the time given', async () => {
  const started = Date.now();
  expect(await wget('-qO-', '-T', '1', `${url}/slow`)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('download timed out') as string,
  });
  expect(Date.now() - started).toBeLessThan(5_000);
});
