import type { IncomingMessage, ServerResponse } from 'node:http';
import type { UserInfo } from '../auth/user-info.ts';
import type { Json, JsonObject } from '../json/json.ts';
import { StatusError } from '../json/status-error.ts';
import { negotiate, type Rendering } from './negotiation.ts';

/** One request on its way through the server, after authentication. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly user: UserInfo;
}

export function renderingOf(call: Call): Rendering {
  const rendering = negotiate(call.request.headers.accept);
  if (rendering !== undefined) return rendering;
  throw new StatusError(
    406,
    'NotAcceptable',
    'only the following media types are accepted: application/json, application/json;stream=watch',
  );
}

export function sendText(
  response: ServerResponse,
  status: number,
  text: string | Buffer,
  contentType = 'application/json',
): void {
  if (response.headersSent) {
    response.end();
    return;
  }
  response.writeHead(status, {
    'content-type': contentType,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-cache, private',
  });
  response.end(text);
}

export function sendJson(call: Call, status: number, body: Json): void {
  sendText(call.response, status, `${JSON.stringify(body)}\n`);
}

/** Any error as a Status; what is not a StatusError is the server's own fault and becomes a 500. */
export function statusOf(error: unknown): JsonObject & { code: number } {
  const known =
    error instanceof StatusError
      ? error
      : new StatusError(
          500,
          'InternalError',
          `Internal error occurred: ${error instanceof Error ? error.message : String(error)}`,
        );
  return { ...known.toStatus(), code: known.status };
}
