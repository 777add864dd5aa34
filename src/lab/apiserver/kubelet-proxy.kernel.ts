import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { ApiServer } from './api-server.ts';
import { installedKubectls, kubeconfigText } from './installed-kubectls.kernel-support.ts';

const KUBECTLS = installedKubectls();
const BIG = 300_000;
const folder = mkdtempSync(join(tmpdir(), 'fnt-kubelet-proxy-'));
let server: ApiServer;
let kubelet: Server;
const seen: string[] = [];

/** A kubelet as far as the proxy needs one: it checks the client's certificate and runs the command line here. */
async function startKubelet(): Promise<Server> {
  const pair = server.authority.issue({ commonName: 'node', usage: 'server', names: ['127.0.0.1'] });
  const sockets = new WebSocketServer({ noServer: true });
  const made = createServer(
    {
      cert: pair.certificate,
      key: pair.key,
      ca: server.authority.certificate,
      requestCert: true,
      rejectUnauthorized: false,
    },
    (request, response) => {
      seen.push(request.url ?? '');
      if (!(request.socket as TLSSocket).authorized) response.writeHead(401).end();
      else if (request.url?.includes('previous=true') === true) response.writeHead(400).end('no such run\n');
      else response.end('first line\nsecond line\n');
    },
  );
  made.on('upgrade', (request, socket, head) => {
    seen.push(request.url ?? '');
    const query = new URL(request.url ?? '', 'https://node').searchParams;
    if (query.get('command') === 'refused') {
      const text = 'container "main" is not running';
      socket.end(
        `HTTP/1.1 400 Bad Request\r\ncontent-length: ${text.length}\r\nconnection: close\r\n\r\n${text}`,
      );
      return;
    }
    sockets.handleUpgrade(request, socket, head, (webSocket) => serve(webSocket, query.getAll('command')));
  });
  await new Promise<void>((resolve) => {
    made.listen(0, '127.0.0.1', resolve);
  });
  return made;
}

function serve(socket: WebSocket, [program = '', ...args]: readonly string[]): void {
  const child = spawn(program, args);
  const forward =
    (channel: number) =>
    (data: Buffer): void =>
      socket.send(Buffer.concat([Uint8Array.of(channel), data]));
  child.stdout.on('data', forward(1));
  child.stderr.on('data', forward(2));
  socket.on('message', (message: Buffer) => {
    if (message[0] === 0) child.stdin.write(message.subarray(1));
    if (message[0] === 255) child.stdin.end();
  });
  socket.on('close', () => child.kill());
  child.on('close', (code) => {
    const causes = [{ reason: 'ExitCode', message: String(code) }];
    const status =
      code === 0
        ? { status: 'Success' }
        : { status: 'Failure', reason: 'NonZeroExitCode', details: { causes } };
    forward(3)(Buffer.from(JSON.stringify(status)));
    socket.close(1000);
  });
}

beforeAll(async () => {
  server = await ApiServer.start({
    listen: [{ host: '127.0.0.1', port: 0 }],
    advertise: { host: '192.0.2.1' },
    serviceCidrs: ['10.96.0.0/16'],
    tokens: new Map([['secret', { username: 'tester', groups: [] }]]),
  });
  kubelet = await startKubelet();
  writeFileSync(join(folder, 'config'), kubeconfigText(server, { token: 'secret' }), { mode: 0o600 });
});

afterAll(async () => {
  kubelet.closeAllConnections();
  kubelet.close();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Answer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function kubectl(file: string, args: readonly string[], input = ''): Promise<Answer> {
  const child = spawn(
    file,
    ['--kubeconfig', join(folder, 'config'), '--cache-dir', join(folder, 'cache'), ...args],
    { timeout: 20_000 },
  );
  child.stdin.end(input);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

async function makePod(file: string): Promise<void> {
  const address = kubelet.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const node = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'n1' },
    status: {
      addresses: [{ type: 'InternalIP', address: '127.0.0.1' }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    },
  };
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'p', namespace: 'default' },
    spec: { nodeName: 'n1', containers: [{ name: 'main', image: 'x' }] },
  };
  await kubectl(
    file,
    ['apply', '-f', '-'],
    JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [node, pod] }),
  );
  await kubectl(file, [
    'patch',
    'pod',
    'p',
    '--subresource=status',
    '--type=merge',
    '-p',
    '{"status":{"phase":"Running"}}',
  ]);
}

// kubectl 1.27 speaks SPDY, 1.30 and later WebSocket; the kubelet only the latter.
describe.skipIf(KUBECTLS.length === 0).each(KUBECTLS)('logs and exec by kubectl $version', ({ file }) => {
  beforeAll(() => makePod(file));

  test('logs come from the kubelet of the node, with the options that were asked for', async () => {
    const { stdout } = await kubectl(file, ['logs', 'p', '--tail=5']);
    expect(stdout).toBe('first line\nsecond line\n');
    expect(seen.at(-1)).toBe('/containerLogs/default/p/main?tailLines=5');
  });

  test('output, errors and the exit code of a command arrive', async () => {
    const answer = await kubectl(file, ['exec', 'p', '--', 'sh', '-c', 'echo out; echo err >&2; exit 3']);
    expect(answer).toMatchObject({ code: 3, stdout: 'out\n' });
    expect(answer.stderr).toContain('err\n');
  });

  test('every word of a command arrives, whatever it says', async () => {
    const words = ['a', '0', 'false', '', 'true', '1'];
    const { stdout } = await kubectl(file, ['exec', 'p', '--', 'printf', '<%s>', ...words]);
    expect(stdout).toBe('<a><0><false><><true><1>');
  });

  test('standard input reaches the command, and its end ends it', async () => {
    const { code, stdout } = await kubectl(file, ['exec', '-i', 'p', '--', 'wc', '-c'], 'x'.repeat(BIG));
    expect({ code, count: Number(stdout) }).toEqual({ code: 0, count: BIG });
  });

  test('much output arrives whole', async () => {
    const { code, stdout } = await kubectl(file, ['exec', 'p', '--', 'head', '-c', String(BIG), '/dev/zero']);
    expect({ code, length: stdout.length }).toEqual({ code: 0, length: BIG });
  });

  test('why the kubelet refuses reaches the user', async () => {
    const logs = await kubectl(file, ['logs', 'p', '--previous']);
    expect(logs).toMatchObject({ code: 1, stderr: 'Error from server (BadRequest): no such run\n' });
    const exec = await kubectl(file, ['exec', 'p', '--', 'refused']);
    expect(exec.code).toBe(1);
    expect(exec.stderr).toContain('container "main" is not running');
  });

  test('a container that is not there is named', async () => {
    const { stderr } = await kubectl(file, ['logs', 'p', '-c', 'other']);
    expect(stderr).toContain('other');
  });
});
