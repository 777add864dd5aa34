/** etcd's messages as they are sent and received: int64 as decimal strings, bytes as Buffers. Names are etcd's. */

interface ResponseHeader {
  readonly revision: string;
}

/** Responses of etcd always have a header; a proxy in between may leave it out. */
interface WithHeader {
  readonly header: ResponseHeader | null;
}

export interface RawKeyValue {
  readonly key: Buffer;
  readonly create_revision: string;
  readonly mod_revision: string;
  readonly version: string;
  readonly value: Buffer;
  readonly lease: string;
}

export interface RangeRequest {
  readonly key: Buffer;
  readonly range_end?: Buffer;
}

export interface RangeResponse extends WithHeader {
  readonly kvs: readonly RawKeyValue[];
}

export interface RawCompare {
  readonly result: number;
  readonly target: number;
  readonly key: Buffer;
  readonly version?: string;
  readonly mod_revision?: string;
  readonly range_end?: Buffer;
}

export type RawOperation =
  | { readonly request_put: { readonly key: Buffer; readonly value: Buffer; readonly lease: string } }
  | { readonly request_delete_range: { readonly key: Buffer } };

export interface TxnRequest {
  readonly compare: readonly RawCompare[];
  readonly success: readonly RawOperation[];
}

export interface TxnResponse extends WithHeader {
  readonly succeeded: boolean;
}

export interface LeaseGrantRequest {
  readonly TTL: string;
  readonly ID: string;
}

export interface LeaseGrantResponse extends WithHeader {
  readonly ID: string;
  readonly TTL: string;
}

export interface LeaseRequest {
  readonly ID: string;
}

export interface LeaseKeepAliveResponse extends WithHeader {
  readonly ID: string;
  readonly TTL: string;
}

export interface WatchRequest {
  readonly create_request: {
    readonly key: Buffer;
    readonly range_end?: Buffer;
    readonly start_revision: string;
    readonly progress_notify: boolean;
  };
}

interface RawEvent {
  /** 0: put, 1: delete. */
  readonly type: number;
  readonly kv: RawKeyValue;
}

export interface WatchResponse extends WithHeader {
  readonly created: boolean;
  readonly canceled: boolean;
  readonly compact_revision: string;
  readonly cancel_reason: string;
  readonly events: readonly RawEvent[];
}

export interface AuthenticateRequest {
  readonly name: string;
  readonly password: string;
}

export interface AuthenticateResponse extends WithHeader {
  readonly token: string;
}
