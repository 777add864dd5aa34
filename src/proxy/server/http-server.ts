import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { sleep } from '../../timing/backoff.ts';
import { formatBindAddress, type BindAddress } from '../config/bind-address.ts';

export interface HttpServerOptions {
  /** The field that names the address: `healthzBindAddress`. */
  readonly field: string;
  readonly address: BindAddress;
  readonly answer: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  /** Whether a port that cannot be had is an error at once, rather than tried again (bindAddressHardFail). */
  readonly hardFail?: boolean;
  readonly logger: Logger;
}

/** As kube-proxy: a port that somebody else has is tried again, the other proxy may just be leaving it. */
const RETRY_MS = 5_000;

/**
 * Serves until the signal is aborted. A port that is taken is reported and tried again while the rest goes on; with
 * `hardFail` it rejects with BIND_FAILED.
 */
export async function serveHttp(options: HttpServerOptions, signal: AbortSignal): Promise<void> {
  const { field, logger } = options;
  const where = formatBindAddress(options.address);
  while (!signal.aborted) {
    try {
      await listen(options, signal);
    } catch (cause) {
      const error = describeError(cause);
      if (options.hardFail === true) {
        throw new FlatnetError(`${field} ${where}: cannot listen: ${error}`, {
          code: 'BIND_FAILED',
          hint: 'another proxy may have the port; bindAddressHardFail: false waits for it',
          cause,
        });
      }
      logger.error(
        { field, address: where, error },
        `${field} ${where}: cannot listen; the rest goes on, trying again`,
      );
      await sleep(RETRY_MS, signal);
    }
  }
}

async function listen({ address, answer, logger }: HttpServerOptions, signal: AbortSignal): Promise<void> {
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => {
      logger.warn({ error: describeError(error) }, 'status request failed');
      response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.once('close', resolve);
    server.listen({ host: address.host.toString(), port: address.port });
    const stop = (): void => {
      server.close();
      server.closeAllConnections();
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

export function send(
  response: ServerResponse,
  status: number,
  text: string,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'x-content-type-options': 'nosniff' });
  response.end(text);
}
