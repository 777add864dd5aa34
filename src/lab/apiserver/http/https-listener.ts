import { createServer, type Server } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { KeyPair } from '../pki/certificate-authority.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';

/** Where to listen: an address of the present network namespace, or a socket opened and bound elsewhere. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly fd: number };

export interface HttpsHandlers {
  readonly onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  readonly onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
}

/** Opens one HTTPS server; client certificates of `authority` are asked for, not demanded. */
export async function listenHttps(
  address: ListenAddress,
  pair: KeyPair,
  authority: string,
  handlers: HttpsHandlers,
): Promise<Server> {
  const server = createServer({
    cert: pair.certificate,
    key: pair.key,
    ca: [authority],
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 'TLSv1.2',
    ALPNProtocols: ['http/1.1'],
    keepAliveTimeout: 120_000,
  });
  // A watch stays open for long, and nothing is sent while nothing changes.
  server.requestTimeout = 0;
  server.headersTimeout = 60_000;
  server.timeout = 0;
  server.on('request', handlers.onRequest);
  server.on('upgrade', handlers.onUpgrade);
  server.on('secureConnection', (socket) => socket.setNoDelay(true));
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => reject(listenError(address, cause)));
    server.listen('fd' in address ? { fd: address.fd } : { ...address }, () => resolve());
  });
  server.removeAllListeners('error');
  return server;
}

function listenError(address: ListenAddress, cause: NodeJS.ErrnoException): FlatnetError {
  const where = 'fd' in address ? `file descriptor ${address.fd}` : `${address.host} port ${address.port}`;
  return new FlatnetError(`API server: cannot listen on ${where}: ${cause.message}`, {
    code: cause.code ?? 'LISTEN',
    hint:
      cause.code === 'EADDRINUSE'
        ? 'another process has that port; choose another or stop it'
        : 'is the address one of this network namespace?',
    cause,
  });
}

/** The address that a server listens on. */
export function addressOf(server: Server): { host: string; port: number } {
  const address = server.address() as AddressInfo | null;
  return { host: address?.address ?? '', port: address?.port ?? 0 };
}
