import { fromJSON, type MethodDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import type {
  AuthenticateRequest,
  AuthenticateResponse,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseKeepAliveResponse,
  LeaseRequest,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
  WatchRequest,
  WatchResponse,
} from './messages.ts';

/**
 * The part of etcd's gRPC interface that is used, `[repeated] type name number` for each field: names and numbers are
 * those of etcd's api/etcdserverpb/rpc.proto, api/mvccpb/kv.proto. Enumerations are written as int32, which is the
 * same on the wire; a field not named here is passed over when it is received.
 */
const MESSAGES: Readonly<Record<string, string>> = {
  ResponseHeader: 'int64 revision 3',
  KeyValue:
    'bytes key 1, int64 create_revision 2, int64 mod_revision 3, int64 version 4, bytes value 5, int64 lease 6',
  Event: 'int32 type 1, KeyValue kv 2',
  RangeRequest: 'bytes key 1, bytes range_end 2',
  RangeResponse: 'ResponseHeader header 1, repeated KeyValue kvs 2',
  PutRequest: 'bytes key 1, bytes value 2, int64 lease 3',
  DeleteRangeRequest: 'bytes key 1',
  RequestOp: 'PutRequest request_put 2, DeleteRangeRequest request_delete_range 3',
  Compare:
    'int32 result 1, int32 target 2, bytes key 3, int64 version 4, int64 mod_revision 6, bytes range_end 64',
  TxnRequest: 'repeated Compare compare 1, repeated RequestOp success 2',
  TxnResponse: 'ResponseHeader header 1, bool succeeded 2',
  LeaseGrantRequest: 'int64 TTL 1, int64 ID 2',
  LeaseGrantResponse: 'ResponseHeader header 1, int64 ID 2, int64 TTL 3',
  LeaseRequest: 'int64 ID 1',
  LeaseRevokeResponse: 'ResponseHeader header 1',
  LeaseKeepAliveResponse: 'ResponseHeader header 1, int64 ID 2, int64 TTL 3',
  WatchCreateRequest: 'bytes key 1, bytes range_end 2, int64 start_revision 3, bool progress_notify 4',
  WatchRequest: 'WatchCreateRequest create_request 1',
  WatchResponse:
    'ResponseHeader header 1, int64 watch_id 2, bool created 3, bool canceled 4, int64 compact_revision 5, string cancel_reason 6, repeated Event events 11',
  AuthenticateRequest: 'string name 1, string password 2',
  AuthenticateResponse: 'ResponseHeader header 1, string token 2',
};

/** Request and response type of each method. */
const SERVICES: Readonly<Record<string, Readonly<Record<string, readonly [string, string]>>>> = {
  KV: { Range: ['RangeRequest', 'RangeResponse'], Txn: ['TxnRequest', 'TxnResponse'] },
  Lease: {
    LeaseGrant: ['LeaseGrantRequest', 'LeaseGrantResponse'],
    LeaseRevoke: ['LeaseRequest', 'LeaseRevokeResponse'],
    LeaseKeepAlive: ['LeaseRequest', 'LeaseKeepAliveResponse'],
  },
  Watch: { Watch: ['WatchRequest', 'WatchResponse'] },
  Auth: { Authenticate: ['AuthenticateRequest', 'AuthenticateResponse'] },
};

/** A method of etcd's, with its codec. int64 are decimal strings, bytes are Buffers; absent fields have their default. */
export interface Method<Request, Response> {
  /** `/etcdserverpb.KV/Range` */
  readonly path: string;
  readonly serialize: (request: Request) => Buffer;
  readonly deserialize: (bytes: Buffer) => Response;
}

const PACKAGE = 'etcdserverpb';

function loadServices(): ReturnType<typeof fromJSON> {
  const nested: Record<string, object> = {};
  for (const [message, text] of Object.entries(MESSAGES)) {
    const fields = text.split(', ').map((field) => {
      const [type = '', name = '', id] = field.replace('repeated ', '').split(' ');
      return [
        name,
        { type, id: Number(id), ...(field.startsWith('repeated ') ? { rule: 'repeated' } : {}) },
      ] as const;
    });
    nested[message] = { fields: Object.fromEntries(fields) };
  }
  for (const [service, methods] of Object.entries(SERVICES)) {
    const entries = Object.entries(methods).map(
      ([name, [requestType, responseType]]) => [name, { requestType, responseType }] as const,
    );
    nested[service] = { methods: Object.fromEntries(entries) };
  }
  return fromJSON(
    { nested: { [PACKAGE]: { nested } } },
    { keepCase: true, longs: String, defaults: true, arrays: true },
  );
}

const services = loadServices();

function method<Request extends object, Response>(service: string, name: string): Method<Request, Response> {
  const definition = (services[`${PACKAGE}.${service}`] as ServiceDefinition)[name] as MethodDefinition<
    object,
    object
  >;
  return {
    path: definition.path,
    serialize: definition.requestSerialize,
    deserialize: definition.responseDeserialize as (bytes: Buffer) => Response,
  };
}

export const RANGE = method<RangeRequest, RangeResponse>('KV', 'Range');
export const TXN = method<TxnRequest, TxnResponse>('KV', 'Txn');
export const LEASE_GRANT = method<LeaseGrantRequest, LeaseGrantResponse>('Lease', 'LeaseGrant');
export const LEASE_REVOKE = method<LeaseRequest, object>('Lease', 'LeaseRevoke');
export const LEASE_KEEP_ALIVE = method<LeaseRequest, LeaseKeepAliveResponse>('Lease', 'LeaseKeepAlive');
export const WATCH = method<WatchRequest, WatchResponse>('Watch', 'Watch');
export const AUTHENTICATE = method<AuthenticateRequest, AuthenticateResponse>('Auth', 'Authenticate');
