import { Agent, request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect as connectTls } from 'node:tls';
import type { Duplex } from 'node:stream';
import type { Call } from '../http/call.ts';
import { StatusError } from '../json/status-error.ts';
import type { KeyPair } from '../pki/certificate-authority.ts';
import type { ResourcePath } from '../rest/request-info.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { bridgeExec, isSpdyUpgrade, openKubeletSocket } from './exec-bridge.ts';
import { refusalOf } from './kubelet-refusal.ts';
import { type KubeletTarget, kubeletTarget, type PodOperation } from './kubelet-target.ts';

const CONNECT_TIMEOUT_MS = 10_000;

const OPERATIONS: Readonly<Record<string, PodOperation>> = {
  exec: 'exec',
  attach: 'attach',
  portforward: 'portForward',
};

export interface KubeletAccess {
  readonly pods: ObjectStore;
  readonly nodes: ObjectStore;
  /** The client certificate that kubelets know this server by. */
  readonly client: KeyPair;
  /** Signs the kubelets' serving certificates. */
  readonly authority: string;
}

/** Hands logs, exec, attach and port-forward on to the kubelet of the pod's node, as kube-apiserver does. */
export class KubeletProxy {
  readonly #access: KubeletAccess;
  readonly #agent: Agent;

  constructor(access: KubeletAccess) {
    this.#access = access;
    this.#agent = new Agent({ keepAlive: true, maxFreeSockets: 4, ...this.#tls() });
  }

  #tls(): { ca: string; cert: string; key: string; checkServerIdentity: () => undefined } {
    const { authority, client } = this.#access;
    // The chain is verified. The name is not: the address comes from the Node object that the kubelet itself wrote.
    return { ca: authority, cert: client.certificate, key: client.key, checkServerIdentity: () => undefined };
  }

  /** GET pods/log: the kubelet's answer is streamed as it is. */
  async log(call: Call, path: ResourcePath): Promise<void> {
    const target = kubeletTarget(this.#access, 'containerLogs', path.namespace, path.name ?? '', call.query);
    const answer = await this.#get(target, call);
    const { statusCode = 502 } = answer;
    if (statusCode >= 400) throw await refusalOf(answer);
    const { response } = call;
    response.writeHead(statusCode, {
      'content-type': answer.headers['content-type'] ?? 'text/plain',
      'cache-control': 'no-cache, private',
    });
    response.flushHeaders();
    answer.pipe(response);
    answer.on('error', () => response.destroy());
    response.on('close', () => answer.destroy());
  }

  #get(target: KubeletTarget, call: Call): Promise<IncomingMessage> {
    const { host, port, path } = target;
    return new Promise((resolve, reject) => {
      const request = httpsRequest(
        { host, port, path, agent: this.#agent, timeout: CONNECT_TIMEOUT_MS },
        resolve,
      );
      request.on('timeout', () => {
        if (request.socket?.connecting !== false) request.destroy(new Error('connection timed out'));
      });
      request.on('error', (error) => reject(unreachable(target, error)));
      call.response.on('close', () => request.destroy());
      request.end();
    });
  }

  /**
   * exec, attach and port-forward: after the client's upgrade request has been repeated to the kubelet, bytes go
   * both ways untouched, so whatever protocol the two agree on works. Only SPDY becomes WebSocket on the way.
   */
  async upgrade(
    path: ResourcePath,
    query: URLSearchParams,
    request: IncomingMessage,
    client: Duplex,
    head: Buffer,
  ): Promise<void> {
    const operation = OPERATIONS[path.subresource ?? ''];
    if (operation === undefined)
      throw new StatusError(404, 'NotFound', 'the server could not find the requested resource');
    const target = kubeletTarget(this.#access, operation, path.namespace, path.name ?? '', query);
    if (isSpdyUpgrade(request) && operation !== 'portForward') {
      const url = `wss://${hostHeader(target)}${target.path}`;
      const socket = await openKubeletSocket({ url, ...this.#tls() }).catch((error: Error) => {
        throw error instanceof StatusError ? error : unreachable(target, error);
      });
      await bridgeExec(request, client, head, socket);
      return;
    }
    const kubelet = await this.#dial(target);
    kubelet.write(upgradeRequest(target, request));
    if (head.length > 0) kubelet.write(head);
    kubelet.pipe(client);
    client.pipe(kubelet);
    const end = (): void => {
      kubelet.destroy();
      client.destroy();
    };
    for (const socket of [kubelet, client]) {
      socket.on('error', end);
      socket.on('close', end);
    }
  }

  #dial(target: KubeletTarget): Promise<Duplex> {
    const { host, port } = target;
    return new Promise((resolve, reject) => {
      const socket = connectTls({ host, port, ALPNProtocols: ['http/1.1'], ...this.#tls() }, () => {
        socket.setTimeout(0);
        socket.setNoDelay(true);
        resolve(socket);
      });
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('connection timed out')));
      socket.once('error', (error) => reject(unreachable(target, error)));
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The client's request with the kubelet's path and host, and without the client's credentials. */
function upgradeRequest(target: KubeletTarget, request: IncomingMessage): string {
  const lines = [`${request.method ?? 'GET'} ${target.path} HTTP/1.1`, `Host: ${hostHeader(target)}`];
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = request.rawHeaders[i] ?? '';
    if (/^(host|authorization|cookie)$/i.test(name)) continue;
    lines.push(`${name}: ${request.rawHeaders[i + 1] ?? ''}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

function hostHeader({ host, port }: KubeletTarget): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function unreachable(target: KubeletTarget, error: Error): StatusError {
  const url = `https://${hostHeader(target)}${target.path}`;
  return new StatusError(
    500,
    'InternalError',
    `Internal error occurred: error dialing backend: Get "${url}": ${error.message}`,
  );
}
