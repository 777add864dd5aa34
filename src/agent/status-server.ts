import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { sleep } from '../timing/backoff.ts';
import type { BindAddress } from '../proxy/config/bind-address.ts';
import { reportHealth, type HealthCheck } from './health.ts';

export interface StatusServerOptions {
  /** What is served: health on the one address, metrics on the other, all on one where they are the same. */
  readonly name: string;
  readonly address: BindAddress;
  readonly ready: readonly HealthCheck[];
  readonly registry: Registry;
  readonly logger: Logger;
}

/** A port that somebody else has is tried again: kube-proxy may just be leaving it. */
const RETRY_MS = 5_000;

/**
 * /healthz, /livez, /readyz and /metrics. A port that is taken is reported and tried again; the rest of the agent
 * goes on. Resolves when the signal is aborted.
 */
export async function serveStatus(options: StatusServerOptions, signal: AbortSignal): Promise<void> {
  const { host, port } = options.address;
  const where = host.family === 6 ? `[${host.toString()}]:${port}` : `${host.toString()}:${port}`;
  while (!signal.aborted) {
    try {
      await listen(options, signal);
    } catch (error) {
      const field = `${options.name}BindAddress`;
      options.logger.error(
        { field, address: where, error: describeError(error) },
        `${field} ${where}: cannot listen; the rest goes on, trying again`,
      );
      await sleep(RETRY_MS, signal);
    }
  }
}

async function listen(options: StatusServerOptions, signal: AbortSignal): Promise<void> {
  const { host, port } = options.address;
  const server = createServer((request, response) => {
    answer(options, request, response).catch((error: unknown) => {
      options.logger.warn({ error: describeError(error) }, 'status request failed');
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('close', resolve);
    server.listen({ host: host.toString(), port });
    const stop = (): void => {
      server.close();
      server.closeAllConnections();
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

async function answer(
  options: StatusServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://localhost');
  const verbose = url.searchParams.has('verbose');
  switch (url.pathname) {
    case '/livez':
      send(response, 200, 'ok');
      return;
    case '/healthz':
    case '/readyz': {
      const { ok, text } = reportHealth(url.pathname.slice(1), options.ready, verbose);
      send(response, ok ? 200 : 503, text);
      return;
    }
    case '/metrics':
      send(response, 200, await options.registry.metrics(), options.registry.contentType);
      return;
    default:
      send(response, 404, 'not found; there are /healthz, /livez, /readyz and /metrics\n');
  }
}

function send(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(text);
}
