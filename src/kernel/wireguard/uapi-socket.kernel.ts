import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { UapiSocket } from './uapi-socket.ts';

/** Of another process: the call under test holds up this one. */
const DRIP = `
  require('node:net')
    .createServer((socket) => {
      const timer = setInterval(() => socket.write('a=1\\n'), 100);
      socket.on('close', () => clearInterval(timer)).on('error', () => {});
    })
    .listen(process.argv[1], () => console.log('listens'));
`;

test('what answers a little now and then, without end, holds nobody up for ever', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'fnt-uapi-'));
  const path = join(folder, 'drip.sock');
  const other = spawn(process.execPath, ['-e', DRIP, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(other.stdout, 'data');
    const socket = new UapiSocket(path);
    expect(() => socket.exchange('get=1\n\n')).toThrow('does not answer');
    const started = performance.now();
    expect(() => socket.exchange('get=1\n\n')).toThrow('does not answer');
    expect(performance.now() - started).toBeLessThan(1_000);
  } finally {
    other.kill('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});
