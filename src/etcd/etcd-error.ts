import { status, type ServiceError } from '@grpc/grpc-js';
import { FlatnetError } from '../errors/flatnet-error.ts';

/** What etcd (or the way to it) refused. Codes: see `codeOf`. */
export class EtcdError extends FlatnetError {
  /** Whether the token was refused: another one may be accepted. */
  readonly needsToken: boolean;
  /** Whether the request surely was not carried out, because it never left this machine. */
  readonly unsent: boolean;

  constructor(doing: string, code: status, words: string) {
    const name = codeOf(code, words);
    const hint = hintFor(name, words);
    super(`${doing}: ${words}`, {
      code: name,
      retryable: RETRYABLE.has(name),
      ...(hint === undefined ? {} : { hint }),
    });
    this.needsToken = TOKEN_REFUSED.test(words);
    this.unsent = code === status.UNAVAILABLE && UNSENT.test(words);
  }
}

export function isEtcdError(error: unknown, code: string): boolean {
  return error instanceof EtcdError && error.code === code;
}

/** From what grpc-js threw; anything else is passed on. */
export function etcdError(doing: string, error: unknown): unknown {
  if (!(error instanceof Error) || !('code' in error) || !('details' in error)) return error;
  const { code, details } = error as ServiceError;
  const words = details.replace(/ Resolution note: $/, '');
  return new EtcdError(doing, code, words === '' ? (status[code] ?? String(code)) : words);
}

const RETRYABLE = new Set([
  'ETCD_UNAVAILABLE',
  'ETCD_TIMEOUT',
  'ETCD_EXHAUSTED',
  'ETCD_COMPACTED',
  'ETCD_REWOUND',
]);

/** ErrGRPCInvalidAuthToken, ErrGRPCUserEmpty and ErrGRPCAuthOldRevision of etcd's rpctypes: as its Go client does. */
const TOKEN_REFUSED = /invalid auth token|user name is empty|revision of auth store is old/;

/** grpc-js' words for a connection that could not be made at all. */
const UNSENT = /No connection established|Name resolution failed|ECONNREFUSED/;

/**
 * ETCD_UNAVAILABLE, ETCD_TIMEOUT, ETCD_EXHAUSTED, ETCD_COMPACTED, ETCD_REWOUND, ETCD_LEASE_NOT_FOUND, ETCD_PERMISSION_DENIED,
 * ETCD_AUTH, ETCD_UNIMPLEMENTED, else ETCD_<gRPC status>.
 */
function codeOf(code: status, words: string): string {
  if (TOKEN_REFUSED.test(words) || /authentication failed/.test(words)) return 'ETCD_AUTH';
  if (/has been compacted/.test(words)) return 'ETCD_COMPACTED';
  if (/requested lease not found/.test(words)) return 'ETCD_LEASE_NOT_FOUND';
  if (/permission denied/.test(words)) return 'ETCD_PERMISSION_DENIED';
  switch (code) {
    case status.UNAVAILABLE:
      return 'ETCD_UNAVAILABLE';
    case status.DEADLINE_EXCEEDED:
      return 'ETCD_TIMEOUT';
    case status.DATA_LOSS:
      return 'ETCD_REWOUND';
    case status.RESOURCE_EXHAUSTED:
      return 'ETCD_EXHAUSTED';
    default:
      return `ETCD_${status[code] ?? String(code)}`;
  }
}

function hintFor(code: string, words: string): string | undefined {
  if (code === 'ETCD_AUTH') {
    return words.includes('user name is empty')
      ? 'this etcd asks for a user: set username and passwordFile'
      : 'look at username and password; `etcdctl user list` shows the users there are';
  }
  if (code === 'ETCD_PERMISSION_DENIED') {
    return "the user's role has to read and write what is under the prefix: `etcdctl role grant-permission ROLE readwrite PREFIX/ --prefix=true`";
  }
  if (code === 'ETCD_UNIMPLEMENTED') return 'is this an etcd of version 3.3 or later?';
  if (/certificate|CERT_|ERR_TLS|wrong version number|SSL/i.test(words)) {
    return 'look at caFile, certFile and keyFile, and at the name in the endpoint, which the server certificate has to carry';
  }
  if (/database space exceeded/.test(words)) {
    return "etcd's database is full: compact and defragment it, then `etcdctl alarm disarm`";
  }
  return undefined;
}
