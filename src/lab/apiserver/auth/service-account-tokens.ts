import { createHash, generateKeyPairSync, type KeyObject, randomUUID, sign, verify } from 'node:crypto';
import { type JsonObject, isObject, numberAt, stringAt } from '../json/json.ts';
import type { UserInfo } from './user-info.ts';

export interface TokenRequest {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly audiences: readonly string[];
  readonly expirationSeconds: number;
  /** The pod that the token is bound to. */
  readonly pod?: { readonly name: string; readonly uid: string };
}

export interface IssuedToken {
  readonly token: string;
  readonly expiration: Date;
}

/** Whether the service account a token was made for is still the same one. */
export type AccountCheck = (namespace: string, name: string, uid: string) => boolean;

/** ServiceAccount tokens: JSON web tokens signed with ES256 (RFC 7518 section 3.4). */
export class ServiceAccountTokens {
  readonly issuer: string;
  readonly #privateKey: KeyObject;
  readonly #publicKey: KeyObject;
  readonly #accountExists: AccountCheck;

  constructor(issuer: string, accountExists: AccountCheck) {
    const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    this.issuer = issuer;
    this.#privateKey = keys.privateKey;
    this.#publicKey = keys.publicKey;
    this.#accountExists = accountExists;
  }

  issue(request: TokenRequest): IssuedToken {
    const now = Math.floor(Date.now() / 1000);
    const bound: JsonObject = {
      namespace: request.namespace,
      serviceaccount: { name: request.name, uid: request.uid },
    };
    if (request.pod !== undefined) bound['pod'] = { ...request.pod };
    const claims = {
      aud: request.audiences.length > 0 ? request.audiences : [this.issuer],
      exp: now + request.expirationSeconds,
      iat: now,
      iss: this.issuer,
      jti: randomUUID(),
      'kubernetes.io': bound,
      nbf: now,
      sub: `system:serviceaccount:${request.namespace}:${request.name}`,
    };
    const head = encode({ alg: 'ES256', kid: this.#keyId() });
    const signed = `${head}.${encode(claims)}`;
    const signature = sign('sha256', Buffer.from(signed), {
      key: this.#privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return {
      token: `${signed}.${signature.toString('base64url')}`,
      expiration: new Date((now + request.expirationSeconds) * 1000),
    };
  }

  #keyId(): string {
    return createHash('sha256')
      .update(this.#publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64url');
  }

  /** The user of a token; undefined where it is not ours, changed, expired or its account is gone. */
  authenticate(token: string): UserInfo | undefined {
    const [head, body, signature, ...more] = token.split('.');
    if (head === undefined || body === undefined || signature === undefined || more.length > 0)
      return undefined;
    const key = { key: this.#publicKey, dsaEncoding: 'ieee-p1363' } as const;
    const signed = Buffer.from(`${head}.${body}`);
    if (!verify('sha256', signed, key, Buffer.from(signature, 'base64url'))) return undefined;
    const claims = decode(body);
    if (claims === undefined || (numberAt(claims, 'exp') ?? 0) * 1000 <= Date.now()) return undefined;
    const namespace = stringAt(claims, 'kubernetes.io', 'namespace') ?? '';
    const name = stringAt(claims, 'kubernetes.io', 'serviceaccount', 'name') ?? '';
    const uid = stringAt(claims, 'kubernetes.io', 'serviceaccount', 'uid') ?? '';
    if (!this.#accountExists(namespace, name, uid)) return undefined;
    return {
      username: `system:serviceaccount:${namespace}:${name}`,
      groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
      uid,
    };
  }
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): JsonObject | undefined {
  try {
    const value = JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as JsonObject;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
