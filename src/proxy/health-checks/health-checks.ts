import { createServer, type Server, type ServerResponse } from 'node:http';
import { describeError } from '../../errors/flatnet-error.ts';
import { listenTcp } from '../../kernel/netns/listen.ts';
import type { Logger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import type { ServicePort } from '../services/service-port.ts';
import type { NodePortAddresses } from '../settings.ts';

// Load balancers ask on a Service's healthCheckNodePort whether this node has endpoints of it: answers as kube-proxy's
// (pkg/proxy/healthcheck/service_health.go).

export interface HealthChecksOptions {
  /** Ready endpoints of a Service on this node. */
  readonly readyHere: (service: string) => number;
  readonly proxyHealthy: () => boolean;
  /** A check cannot be had; said once for each cause. The Service is `namespace/name`. */
  readonly failed: (service: string, message: string) => void;
  readonly logger: Logger;
  /** Descriptor of the network namespace; the process's own when absent. */
  readonly netns?: number;
}

/** What service ports ask for; in force from the next `apply` on. */
interface Request {
  readonly port: number;
  /** Service ports that name it. */
  readonly ids: Set<string>;
}

interface Check {
  readonly service: string;
  readonly port: number;
  servers: readonly Server[];
  failure: string | undefined;
}

/** A port that somebody else has is tried again after so long. */
const RETRY_MS = 5_000;
const EVERYWHERE = [Ip.parse('::')];
const EVERYWHERE_V4 = [Ip.parse('0.0.0.0')];

/** One HTTP server for each Service with a healthCheckNodePort, on the addresses of node ports. */
export class HealthChecks {
  readonly #options: HealthChecksOptions;
  /** What was told: while a full sync is under way it grows, and is not to be acted on. */
  readonly #requests = new Map<string, Request>();
  readonly #checks = new Map<string, Check>();
  /** Services of which something was told since the last `apply`. */
  readonly #touched = new Set<string>();
  #addresses: NodePortAddresses = 'all';
  #retry: NodeJS.Timeout | undefined;

  constructor(options: HealthChecksOptions) {
    this.#options = options;
  }

  /** Services that `set` does not name until the next `apply` have no check any more. */
  reset(): void {
    this.#requests.clear();
    for (const service of this.#checks.keys()) this.#touched.add(service);
  }

  set(id: string, port: ServicePort | undefined): void {
    const service = id.slice(0, id.indexOf(':'));
    const wanted = port?.healthCheckNodePort ?? 0;
    const request = this.#requests.get(service);
    if (wanted === 0) {
      if (request?.ids.delete(id) !== true) return;
      if (request.ids.size === 0) this.#requests.delete(service);
    } else if (request?.port === wanted) request.ids.add(id);
    else this.#requests.set(service, { port: wanted, ids: new Set([id]) });
    this.#touched.add(service);
  }

  /** Where node ports answer, checks do. */
  listenOn(addresses: NodePortAddresses): void {
    if (String(addresses) === String(this.#addresses)) return;
    this.#addresses = addresses;
    for (const check of this.#checks.values()) stop(check);
    this.#startAll();
  }

  /** Opens what is wanted and not open, closes what is not wanted any more. */
  apply(): void {
    let closed = false;
    // Closing first: a port may go from one Service to another.
    for (const service of this.#touched) {
      const check = this.#checks.get(service);
      if (check === undefined || check.port === this.#requests.get(service)?.port) continue;
      stop(check);
      this.#checks.delete(service);
      closed = true;
    }
    for (const service of this.#touched) {
      const request = this.#requests.get(service);
      if (request === undefined || this.#checks.has(service)) continue;
      const check = { service, port: request.port, servers: [], failure: undefined };
      this.#checks.set(service, check);
      this.#start(check);
    }
    this.#touched.clear();
    // Somebody may have waited for what is free now.
    if (closed) this.#startAll();
  }

  close(): void {
    clearTimeout(this.#retry);
    for (const check of this.#checks.values()) stop(check);
    this.#checks.clear();
    this.#requests.clear();
    this.#touched.clear();
  }

  /** All that are not open. */
  #startAll(): void {
    for (const check of this.#checks.values()) if (check.servers.length === 0) this.#start(check);
  }

  #start(check: Check): void {
    const { logger } = this.#options;
    try {
      check.servers = this.#listen(check);
      check.failure = undefined;
    } catch (error) {
      const failure = describeError(error);
      const object = `Service ${check.service}`;
      const field = 'spec.healthCheckNodePort';
      if (failure !== check.failure) {
        this.#options.failed(
          check.service,
          `cannot start the health check on port ${check.port}: ${failure}`,
        );
        logger.error({ object, field, port: check.port }, `${object}: ${field}: ${failure}; trying again`);
      }
      check.failure = failure;
      this.#tryAgain();
    }
  }

  #tryAgain(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#startAll();
    }, RETRY_MS).unref();
  }

  #listen(check: Check): Server[] {
    const all = this.#addresses === 'all';
    try {
      return this.#listenAt(check, this.#addresses === 'all' ? EVERYWHERE : this.#addresses);
    } catch (error) {
      // A kernel without IPv6.
      if (!all || (error as { code?: string }).code !== 'EAFNOSUPPORT') throw error;
      return this.#listenAt(check, EVERYWHERE_V4);
    }
  }

  #listenAt(check: Check, addresses: readonly Ip[]): Server[] {
    const { netns } = this.#options;
    const servers: Server[] = [];
    try {
      for (const address of addresses) {
        const options = { dualStack: true, ...(netns === undefined ? {} : { netns }) };
        const fd = listenTcp(address, check.port, options);
        const server = createServer((_, response) => this.#answer(check, response));
        server.on('error', (error) => {
          // Of one that has been closed since nobody wants to know.
          if (check.servers.includes(server)) this.#broken(check, error);
        });
        servers.push(server.listen({ fd }));
      }
      return servers;
    } catch (error) {
      for (const server of servers) server.close();
      throw error;
    }
  }

  #broken(check: Check, error: Error): void {
    stop(check);
    this.#options.logger.error({ service: check.service, err: error }, 'a health check ended; trying again');
    this.#tryAgain();
  }

  #answer({ service }: Check, response: ServerResponse): void {
    const [namespace, name] = service.split('/');
    const localEndpoints = this.#options.readyHere(service);
    const serviceProxyHealthy = this.#options.proxyHealthy();
    response.writeHead(localEndpoints > 0 && serviceProxyHealthy ? 200 : 503, {
      'content-type': 'application/json',
      'x-content-type-options': 'nosniff',
      'x-load-balancing-endpoint-weight': String(localEndpoints),
    });
    const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy };
    response.end(JSON.stringify(body, undefined, '\t'));
  }
}

function stop(check: Check): void {
  for (const server of check.servers) {
    server.close();
    server.closeAllConnections();
  }
  check.servers = [];
}
