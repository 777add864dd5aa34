import { setMaxListeners } from 'node:events';
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Server } from 'node:https';
import type { Duplex } from 'node:stream';
import { describeError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { Authenticator } from './auth/authenticator.ts';
import { ServiceAccountTokens } from './auth/service-account-tokens.ts';
import { ANONYMOUS, type UserInfo } from './auth/user-info.ts';
import { assembleApi } from './assemble-api.ts';
import type { ApiRouter } from './http/api-router.ts';
import { type Call, sendText, statusOf } from './http/call.ts';
import { addressOf, type ListenAddress, listenHttps } from './http/https-listener.ts';
import { noSuchPath, StatusError } from './json/status-error.ts';
import type { KubeletProxy } from './proxy/kubelet-proxy.ts';
import { parseResourcePath } from './rest/request-info.ts';
import { CertificateAuthority, type KeyPair } from './pki/certificate-authority.ts';

export interface ApiServerOptions {
  /** All answer the same; the first one's port may be 0. */
  readonly listen: readonly ListenAddress[];
  /** Where pods and nodes reach the server: endpoint of the Service `kubernetes`. The port is that of the first listener when absent. */
  readonly advertise: { readonly host: string; readonly port?: number };
  /** One range, or one of each family; the first is the primary. `10.96.0.0/16`. */
  readonly serviceCidrs: readonly string[];
  /** Inclusive; 30000 to 32767 when absent. */
  readonly nodePorts?: readonly [first: number, last: number];
  /** Signs the serving certificate and is trusted for client certificates; a new one when absent. */
  readonly authority?: CertificateAuthority;
  /** More DNS names and addresses for the serving certificate; the usual ones are in it anyway. */
  readonly names?: readonly string[];
  readonly clusterDomain?: string;
  /** Bearer tokens. */
  readonly tokens?: ReadonlyMap<string, UserInfo>;
  readonly logger?: Logger;
  /** Stops the server. */
  readonly signal?: AbortSignal;
}

/** A Kubernetes API server inside this process: HTTPS, objects in memory. */
export class ApiServer {
  readonly authority: CertificateAuthority;
  /** Addresses in the order of `listen`. */
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  readonly #servers: readonly Server[];
  readonly #abort: AbortController;

  private constructor(authority: CertificateAuthority, servers: readonly Server[], abort: AbortController) {
    this.authority = authority;
    this.#servers = servers;
    this.#abort = abort;
    this.addresses = servers.map(addressOf);
  }

  /** Resolves when every listener answers and the first namespaces and the Service `kubernetes` exist. */
  static async start(options: ApiServerOptions): Promise<ApiServer> {
    const authority = options.authority ?? CertificateAuthority.create();
    const abort = new AbortController();
    // Every watch listens to it, and there may be thousands.
    setMaxListeners(0, abort.signal);
    const domain = options.clusterDomain ?? 'cluster.local';
    const accounts = new ServiceAccountTokens(
      `https://kubernetes.default.svc.${domain}`,
      (namespace, name, uid) => api.accountExists(namespace, name, uid),
    );
    const api = assembleApi({ options, authority, accounts, signal: abort.signal });
    const authenticator = new Authenticator(options.tokens ?? new Map(), accounts);
    const front = new HttpFront(api.router, api.kubelets, authenticator, options.logger);
    const pair = authority.issue({
      commonName: 'kube-apiserver',
      usage: 'server',
      names: servingNames(options, api.kubernetesServiceIps, domain),
    });
    const servers: Server[] = [];
    try {
      for (const address of options.listen)
        servers.push(await listenHttps(address, pair, authority.certificate, front));
    } catch (error) {
      for (const server of servers) server.close();
      throw error;
    }
    const server = new ApiServer(authority, servers, abort);
    api.bootstrap({
      host: options.advertise.host,
      port: options.advertise.port ?? server.addresses[0]?.port ?? 6443,
    });
    options.signal?.addEventListener('abort', () => void server.close(), { once: true });
    if (options.signal?.aborted === true) await server.close();
    return server;
  }

  /** A client certificate: the user is the common name, the groups are the organizations. */
  issueClientCertificate(username: string, groups: readonly string[] = []): KeyPair {
    return this.authority.issue({ commonName: username, organizations: groups, usage: 'client' });
  }

  /** Ends watches and connections; resolves when the sockets are closed. */
  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(
      this.#servers.map(
        (server) =>
          new Promise<void>((resolve) => {
            // A connection whose handshake ends only now is not among those that are closed here.
            server.on('secureConnection', (socket) => socket.destroy());
            server.close(() => resolve());
            server.closeAllConnections();
          }),
      ),
    );
  }
}

function servingNames(options: ApiServerOptions, serviceIps: readonly string[], domain: string): string[] {
  const hosts = options.listen.flatMap((one) =>
    'host' in one && one.host !== '0.0.0.0' && one.host !== '::' ? [one.host] : [],
  );
  const names = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${domain}`,
    'localhost',
    '127.0.0.1',
    '::1',
    options.advertise.host,
  ];
  return [...new Set([...names, ...serviceIps, ...hosts, ...(options.names ?? [])])];
}

/** From a request to a call: authentication, errors as Status objects. No error ends the server. */
class HttpFront {
  readonly #router: ApiRouter;
  readonly #kubelets: KubeletProxy;
  readonly #authenticator: Authenticator;
  readonly #logger: Logger | undefined;

  constructor(
    router: ApiRouter,
    kubelets: KubeletProxy,
    authenticator: Authenticator,
    logger: Logger | undefined,
  ) {
    this.#router = router;
    this.#kubelets = kubelets;
    this.#authenticator = authenticator;
    this.#logger = logger;
  }

  readonly onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    response.on('error', () => response.destroy());
    this.#serve(request, response).catch((error: unknown) => this.#fail(request, response, error));
  };

  readonly onUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on('error', () => socket.destroy());
    this.#upgrade(request, socket, head).catch((error: unknown) => refuseUpgrade(socket, error));
  };

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    if (this.#authenticator.authenticate(request) === undefined)
      throw new StatusError(401, 'Unauthorized', 'Unauthorized');
    const url = new URL(request.url ?? '/', 'https://kubernetes');
    const path = parseResourcePath(url.pathname);
    if (path?.resource !== 'pods' || path.group !== '') throw noSuchPath();
    await this.#kubelets.upgrade(path, url.searchParams, request, socket, head);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const user = this.#authenticator.authenticate(request);
    const url = new URL(request.url ?? '/', 'https://kubernetes');
    if (user === undefined && !isPublic(url.pathname))
      throw new StatusError(401, 'Unauthorized', 'Unauthorized');
    const call: Call = {
      request,
      response,
      method: request.method ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      user: user ?? ANONYMOUS,
    };
    await this.#router.route(call);
  }

  #fail(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const status = statusOf(error);
    if (!(error instanceof StatusError)) {
      this.#logger?.error(
        { method: request.method, url: request.url, err: error },
        `request failed: ${describeError(error)}`,
      );
    }
    // What is left of the body is not read: the connection cannot carry another request.
    if (!request.complete) response.setHeader('connection', 'close');
    sendText(response, status.code, `${JSON.stringify(status)}\n`);
  }
}

function refuseUpgrade(socket: Duplex, error: unknown): void {
  const status = statusOf(error);
  const body = JSON.stringify(status);
  const head = [
    `HTTP/1.1 ${status.code} ${STATUS_CODES[status.code] ?? ''}`,
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`);
}

/** Readable without credentials, as kube-apiserver's default roles allow. */
function isPublic(path: string): boolean {
  return path === '/healthz' || path === '/livez' || path === '/readyz' || path === '/version';
}
