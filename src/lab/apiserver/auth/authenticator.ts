import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { ServiceAccountTokens } from './service-account-tokens.ts';
import type { UserInfo } from './user-info.ts';

/** Finds out who makes a request: client certificate first, then bearer token. */
export class Authenticator {
  readonly #tokens: readonly { readonly digest: Buffer; readonly user: UserInfo }[];
  readonly #accounts: ServiceAccountTokens;
  readonly #ofSocket = new WeakMap<TLSSocket, UserInfo>();

  constructor(tokens: ReadonlyMap<string, UserInfo>, accounts: ServiceAccountTokens) {
    this.#tokens = [...tokens].map(([token, user]) => ({ digest: digestOf(token), user }));
    this.#accounts = accounts;
  }

  /** The user; undefined without credentials or with wrong ones (401). */
  authenticate(request: IncomingMessage): UserInfo | undefined {
    return this.#byCertificate(request.socket as TLSSocket) ?? this.#byToken(request.headers.authorization);
  }

  #byCertificate(socket: TLSSocket): UserInfo | undefined {
    // The TLS layer has checked the chain against the cluster's authority; `authorized` tells how it ended.
    if (!socket.authorized) return undefined;
    const known = this.#ofSocket.get(socket);
    if (known !== undefined) return known;
    const subject = socket.getPeerCertificate().subject as
      | { CN?: string | string[]; O?: string | string[] }
      | undefined;
    const username = [subject?.CN ?? []].flat()[0];
    if (username === undefined) return undefined;
    const user = { username, groups: [...[subject?.O ?? []].flat(), 'system:authenticated'] };
    this.#ofSocket.set(socket, user);
    return user;
  }

  #byToken(header: string | undefined): UserInfo | undefined {
    const token = /^Bearer\s+(\S+)$/i.exec(header ?? '')?.[1];
    if (token === undefined) return undefined;
    const digest = digestOf(token);
    const found = this.#tokens.find((one) => timingSafeEqual(one.digest, digest));
    if (found === undefined) return this.#accounts.authenticate(token);
    return { ...found.user, groups: [...found.user.groups, 'system:authenticated'] };
  }
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}
