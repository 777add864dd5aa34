import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { Logger } from '../log/logger.ts';
import type { BindAddress } from '../proxy/config/bind-address.ts';
import { send, serveHttp } from '../proxy/server/http-server.ts';
import { reportHealth, type HealthCheck } from './health.ts';
import type { PodnetStatus } from './podnet-status.ts';

export interface StatusServerOptions {
  /** What is served: health on the one address, metrics on the other, all on one where they are the same. */
  readonly name: string;
  readonly address: BindAddress;
  readonly ready: readonly HealthCheck[];
  readonly registry: Registry;
  /** The service proxy's mode at the moment; absent where Services are not served. */
  readonly proxyMode?: () => string;
  readonly status: () => PodnetStatus;
  readonly logger: Logger;
}

/**
 * /healthz, /livez, /readyz, /metrics, /status (JSON) and /proxyMode. A port that is taken is reported and tried again; the rest of
 * the agent goes on. Resolves when the signal is aborted.
 */
export async function serveStatus(options: StatusServerOptions, signal: AbortSignal): Promise<void> {
  const { name, address, logger } = options;
  await serveHttp(
    {
      field: `${name}BindAddress`,
      address,
      logger,
      answer: async (request, response) => answer(options, request, response),
    },
    signal,
  );
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
    case '/status':
      send(response, 200, `${JSON.stringify(options.status())}\n`, 'application/json');
      return;
    case '/proxyMode':
      if (options.proxyMode === undefined) send(response, 404, 'the service proxy is switched off\n');
      else send(response, 200, options.proxyMode());
      return;
    default:
      send(
        response,
        404,
        'not found; there are /healthz, /livez, /readyz, /metrics, /status and /proxyMode\n',
      );
  }
}
