import type { Socket } from 'node:net';

/**
 * Carries bytes both ways until both sides have ended. Each direction ends by itself (a client may close its half and
 * still read), a slow reader slows its writer down, and what breaks one side breaks the other. Both sockets must have
 * been made with `allowHalfOpen`.
 */
export function relay(client: Socket, server: Socket): void {
  client.once('error', () => breaks(server));
  server.once('error', () => breaks(client));
  // Without an error on it a socket is destroyed before its time only by the owner of both.
  client.once('close', () => {
    if (!client.readableEnded || !client.writableFinished) breaks(server);
  });
  server.once('close', () => {
    if (!server.readableEnded || !server.writableFinished) breaks(client);
  });
  client.pipe(server);
  server.pipe(client);
}

function breaks(other: Socket): void {
  if (!other.destroyed) other.resetAndDestroy();
}
