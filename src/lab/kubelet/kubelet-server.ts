import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { WebSocketServer, type WebSocket } from 'ws';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import { withNetns } from '../../kernel/netns/netns.ts';
import { serveAttach } from './attach-session.ts';
import type { ContainerProcess } from './container-process.ts';
import type { ContainerWorker } from './container-worker.ts';
import { EXEC_PROTOCOLS } from './exec-channel.ts';
import { serveExec } from './exec-session.ts';
import { copyLog, type LogRequest } from './log-reader.ts';

export const KUBELET_PORT = 10250;

export interface KubeletServerOptions {
  /** PEM: the node's serving certificate and key, and the authority of the clients' certificates. */
  readonly certificate: string;
  readonly key: string;
  readonly clientAuthority: string;
  /** Descriptor of the node's network namespace. */
  readonly netns: number;
  /** Throws POD_NOT_FOUND. */
  readonly container: (namespace: string, pod: string, container: string) => ContainerWorker;
  readonly signal: AbortSignal;
}

interface Target {
  readonly kind: string;
  readonly container: ContainerWorker;
}

/** The kubelet's API: /healthz, /containerLogs/NS/POD/CONTAINER, /exec and /attach/NS/POD/CONTAINER (WebSocket). */
export class KubeletServer {
  readonly #options: KubeletServerOptions;
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => EXEC_PROTOCOLS.find((protocol) => offered.has(protocol)) ?? false,
  });

  private constructor(options: KubeletServerOptions) {
    this.#options = options;
    this.#server = createServer(
      {
        cert: options.certificate,
        key: options.key,
        ca: options.clientAuthority,
        requestCert: true,
        rejectUnauthorized: false,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      this.#upgrade(request, socket, head),
    );
    options.signal.addEventListener('abort', () => this.#close(), { once: true });
  }

  /** Listens on every address of the node. */
  static async start(options: KubeletServerOptions): Promise<KubeletServer> {
    const server = new KubeletServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once('error', reject);
      // Without a host the socket is made and bound within this call, and so in the node's namespace.
      withNetns(options.netns, () => void server.#server.listen(KUBELET_PORT, resolve));
    });
    return server;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://kubelet');
    try {
      if (url.pathname === '/healthz') return end(response, 200, 'ok');
      if (!isAuthorized(request)) return end(response, 401, 'Unauthorized\n');
      const target = this.#target(url);
      if (target.kind !== 'containerLogs') return end(response, 404, `no such path: ${url.pathname}\n`);
      await this.#logs(target.container, url.searchParams, response);
    } catch (error) {
      end(response, error instanceof FlatnetError ? 404 : 500, `${describeError(error)}\n`);
    }
  }

  async #logs(worker: ContainerWorker, query: URLSearchParams, response: ServerResponse): Promise<void> {
    const run = query.get('previous') === 'true' ? worker.previous : worker.current;
    if (run === undefined) {
      const { waiting } = worker.view.state;
      const name = worker.container.name;
      const why =
        waiting === undefined
          ? 'has no such run'
          : `is waiting to start: ${waiting.message ?? waiting.reason ?? ''}`;
      return end(response, 400, `container "${name}" ${why}\n`);
    }
    const closed = new AbortController();
    response.once('close', () => closed.abort());
    response.writeHead(200, { 'content-type': 'text/plain' });
    response.flushHeaders();
    await copyLog(run.log, logRequest(query), response, closed.signal);
    response.end();
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on('error', () => socket.destroy());
    try {
      if (!isAuthorized(request)) return refuse(socket, '401 Unauthorized', 'Unauthorized');
      const url = new URL(request.url ?? '/', 'https://kubelet');
      // Without a colon: kubectl would read the text as YAML and show nothing.
      if (url.pathname.startsWith('/portForward/')) {
        return refuse(
          socket,
          '501 Not Implemented',
          'the lab forwards no ports (reach pods through a node port, or by flatnet lab exec from a node)',
        );
      }
      const { kind, container } = this.#target(url);
      if (kind !== 'exec' && kind !== 'attach') {
        return refuse(socket, '404 Not Found', `no such path: ${url.pathname}`);
      }
      const run = container.current;
      if (run === undefined || container.view.state.running === undefined) {
        return refuse(socket, '400 Bad Request', `container "${container.container.name}" is not running`);
      }
      const serve =
        kind === 'exec'
          ? execOf(run.process, url.searchParams)
          : attachOf(container, run.process, url.searchParams);
      this.#sockets.handleUpgrade(request, socket, head, (webSocket) => {
        webSocket.on('error', () => webSocket.terminate());
        serve(webSocket);
      });
    } catch (error) {
      refuse(
        socket,
        error instanceof FlatnetError ? '404 Not Found' : '500 Internal Server Error',
        describeError(error),
      );
    }
  }

  #target(url: URL): Target {
    const [kind = '', namespace = '', pod = '', container = ''] = url.pathname
      .split('/')
      .slice(1)
      .map(decodeURIComponent);
    return { kind, container: this.#options.container(namespace, pod, container) };
  }

  #close(): void {
    for (const client of this.#sockets.clients) client.terminate();
    this.#server.close();
    this.#server.closeAllConnections();
  }
}

/** What serves an exec request. Throws CONTAINER_NOT_RUNNING. */
function execOf(process: ContainerProcess, query: URLSearchParams): (socket: WebSocket) => void {
  const tty = isSet(query, 'tty');
  const command = process.enter(query.getAll('command'), { tty });
  return (socket) =>
    void serveExec(socket, command, {
      ...(tty ? { terminals: process.terminals } : {}),
      stdin: isSet(query, 'input', 'stdin'),
      stdout: isSet(query, 'output', 'stdout'),
      stderr: isSet(query, 'error', 'stderr') && !tty,
    });
}

function attachOf(
  worker: ContainerWorker,
  process: ContainerProcess,
  query: URLSearchParams,
): (socket: WebSocket) => void {
  const stdin = isSet(query, 'input', 'stdin');
  const stdinOnce = worker.container.stdinOnce === true;
  return (socket) => serveAttach(socket, process.streams, process.exited, { stdin, stdinOnce });
}

function isAuthorized(request: IncomingMessage): boolean {
  return (request.socket as TLSSocket).authorized;
}

/** kube-apiserver's own names for the parameters first, then those of the API. */
function isSet(query: URLSearchParams, ...names: string[]): boolean {
  return names.some((name) => ['1', 'true'].includes(query.get(name) ?? ''));
}

function logRequest(query: URLSearchParams): LogRequest {
  const number = (name: string): number | undefined => {
    const text = query.get(name);
    return text === null || !/^\d+$/.test(text) ? undefined : Number(text);
  };
  const sinceSeconds = number('sinceSeconds');
  const sinceTime = query.get('sinceTime');
  const since = sinceTime === null ? undefined : new Date(sinceTime);
  return {
    follow: isSet(query, 'follow'),
    timestamps: isSet(query, 'timestamps'),
    tailLines: number('tailLines'),
    limitBytes: number('limitBytes'),
    since: sinceSeconds === undefined ? since : new Date(Date.now() - sinceSeconds * 1000),
  };
}

function end(response: ServerResponse, status: number, text: string): void {
  if (!response.headersSent) response.writeHead(status, { 'content-type': 'text/plain' });
  response.end(response.statusCode === status ? text : undefined);
}

function refuse(socket: Duplex, status: string, text: string): void {
  const head = `HTTP/1.1 ${status}\r\ncontent-type: text/plain\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close`;
  socket.end(`${head}\r\n\r\n${text}`);
}
