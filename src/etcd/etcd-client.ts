import { Client, Metadata, status, type ChannelOptions, type ClientDuplexStream } from '@grpc/grpc-js';
import { etcdError, EtcdError } from './etcd-error.ts';
import { channelCredentials, readPassword, type EtcdAccess } from './etcd-access.ts';
import { prefixEnd, type KeyRange } from './key-range.ts';
import { keyValue, type KeyList, type KeyValue } from './key-value.ts';
import {
  AUTHENTICATE,
  LEASE_GRANT,
  LEASE_KEEP_ALIVE,
  LEASE_REVOKE,
  RANGE,
  TXN,
  WATCH,
  type Method,
} from './rpc.ts';
import { rawCondition, rawOperation, type Condition, type Operation } from './transaction.ts';
import { watchBatches, type WatchBatch } from './watch.ts';

export interface EtcdClientOptions {
  /** How long one request may take, the making of the connection included. Milliseconds. */
  readonly timeoutMs?: number;
  /** Without a word from etcd for so long it is asked whether it is still there. Milliseconds. */
  readonly keepAliveMs?: number;
}

/** As etcdctl's --dial-timeout and --command-timeout together. */
const TIMEOUT_MS = 7000;

/** Half as long again and it is taken for dead. etcd refuses pings closer than 5 s (--grpc-keepalive-min-time). */
const KEEP_ALIVE_MS = 10_000;

const CHANNEL = {
  // A list of thousands of leases is more than gRPC's default of 4 MiB.
  'grpc.max_receive_message_length': -1,
  // A connection of its own for each client: closing one must not end another's.
  'grpc.use_local_subchannel_pool': 1,
  // Connections that fail are given up and made anew here, at the next endpoint.
  'grpc.enable_retries': 0,
} as const;

/**
 * An etcd 3. Requests go to one endpoint until it fails, then to the next one. What only reads is tried at every
 * endpoint; what writes is tried again only if it surely was not carried out, else the error is the caller's, who
 * looks at what there is. Errors are EtcdError.
 */
export class EtcdClient {
  readonly #access: EtcdAccess;
  readonly #timeoutMs: number;
  readonly #channel: ChannelOptions;
  readonly #connections = new Map<number, Client>();
  #current = 0;
  #token: Promise<string> | undefined;
  #closed = false;

  constructor(access: EtcdAccess, options: EtcdClientOptions = {}) {
    this.#access = access;
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
    const keepAliveMs = options.keepAliveMs ?? KEEP_ALIVE_MS;
    this.#channel = {
      ...CHANNEL,
      'grpc.keepalive_time_ms': keepAliveMs,
      'grpc.keepalive_timeout_ms': keepAliveMs / 2,
    };
  }

  /** The endpoint in use, as it was written. */
  get endpoint(): string {
    return this.#nameOf(this.#current);
  }

  async get(key: string): Promise<{ found: KeyValue | undefined; revision: number }> {
    const { keys, revision } = await this.#range(`reading ${key}`, { key: Buffer.from(key) });
    return { found: keys[0], revision };
  }

  async list(prefix: string): Promise<KeyList> {
    return this.#range(`listing ${prefix}`, { key: Buffer.from(prefix), range_end: prefixEnd(prefix) });
  }

  /** Carries out all operations if all conditions hold, else none; says whether they held. */
  async commit(
    doing: string,
    conditions: readonly Condition[],
    operations: readonly Operation[],
  ): Promise<{ succeeded: boolean; revision: number }> {
    const request = { compare: conditions.map(rawCondition), success: operations.map(rawOperation) };
    const { succeeded, header } = await this.#unary(doing, TXN, request, false);
    return { succeeded, revision: Number(header?.revision ?? 0) };
  }

  /** A lease of `ttlSeconds` (etcd may make it longer). Its id is decimal. */
  async grantLease(ttlSeconds: number): Promise<{ leaseId: string; ttlSeconds: number }> {
    const request = { TTL: String(Math.ceil(ttlSeconds)), ID: '0' };
    const { ID, TTL } = await this.#unary('granting a lease', LEASE_GRANT, request, false);
    return { leaseId: ID, ttlSeconds: Number(TTL) };
  }

  async revokeLease(leaseId: string): Promise<void> {
    await this.#unary(`revoking lease ${leaseHex(leaseId)}`, LEASE_REVOKE, { ID: leaseId }, true);
  }

  /** Gives a lease its full time again; returns it in seconds. Throws ETCD_LEASE_NOT_FOUND when it has expired. */
  async renewLease(leaseId: string): Promise<number> {
    const doing = `renewing lease ${leaseHex(leaseId)}`;
    const ttl = await this.#attempt(doing, true, async (client, metadata) => {
      const call = client.makeBidiStreamRequest(
        LEASE_KEEP_ALIVE.path,
        LEASE_KEEP_ALIVE.serialize,
        LEASE_KEEP_ALIVE.deserialize,
        metadata,
        { deadline: Date.now() + this.#timeoutMs },
      );
      return oneAnswer(call, { ID: leaseId }, ({ TTL }) => Number(TTL));
    });
    // etcd answers for a lease that is gone with a time of 0.
    if (ttl > 0) return ttl;
    throw new EtcdError(doing, status.NOT_FOUND, 'etcdserver: requested lease not found');
  }

  /**
   * Changes from `fromRevision` on. The first batch comes when the watch stands and may be empty. Ends by throwing:
   * ETCD_COMPACTED when etcd no longer has that revision, ETCD_UNAVAILABLE when the connection is lost; ends without
   * an error only when the signal is aborted.
   */
  async *watch(range: KeyRange, fromRevision: number, signal: AbortSignal): AsyncGenerator<WatchBatch> {
    const doing = `watching ${range.key}`;
    const open = async (): Promise<AsyncGenerator<WatchBatch>> =>
      this.#attempt(doing, false, async (client, metadata) => {
        metadata.set('hasleader', 'true');
        const call = client.makeBidiStreamRequest(WATCH.path, WATCH.serialize, WATCH.deserialize, metadata);
        return Promise.resolve(watchBatches(call, range, fromRevision, signal));
      });
    for (let attempt = 1; ; attempt += 1) {
      const endpoint = this.#current;
      try {
        for await (const batch of await open()) {
          attempt = 1;
          yield batch;
        }
        return;
      } catch (thrown) {
        const error = etcdError(`${doing} (${this.#nameOf(endpoint)})`, thrown);
        if (signal.aborted) return;
        if (error instanceof EtcdError && error.needsToken && attempt === 1 && this.#dropToken()) continue;
        if (isConnectionFailure(error)) this.#giveUp(endpoint);
        throw error;
      }
    }
  }

  /** Ends connections and what runs over them. */
  close(): void {
    this.#closed = true;
    for (const index of this.#connections.keys()) this.#disconnect(index);
  }

  async #range(doing: string, request: { key: Buffer; range_end?: Buffer }): Promise<KeyList> {
    const { kvs, header } = await this.#unary(doing, RANGE, request, true);
    return { keys: kvs.map(keyValue), revision: Number(header?.revision ?? 0) };
  }

  async #unary<Request, Response>(
    doing: string,
    method: Method<Request, Response>,
    request: Request,
    repeatable: boolean,
  ): Promise<Response> {
    return this.#attempt(doing, repeatable, async (client, metadata) =>
      unaryCall(client, method, request, metadata, this.#timeoutMs),
    );
  }

  async #attempt<T>(
    doing: string,
    repeatable: boolean,
    action: (client: Client, metadata: Metadata) => Promise<T>,
  ): Promise<T> {
    let failed = 0;
    let renewedToken = false;
    for (;;) {
      const endpoint = this.#current;
      try {
        const client = await this.#connect(endpoint);
        const metadata = new Metadata();
        const token = await this.#authenticate(client);
        if (token !== '') metadata.set('token', token);
        return await action(client, metadata);
      } catch (thrown) {
        const error = etcdError(`${doing} (${this.#nameOf(endpoint)})`, thrown);
        if (error instanceof EtcdError && error.needsToken && !renewedToken && this.#dropToken()) {
          renewedToken = true;
          continue;
        }
        if (!isConnectionFailure(error)) throw error;
        this.#giveUp(endpoint);
        failed += 1;
        const again = repeatable || (error instanceof EtcdError && error.unsent);
        if (this.#closed || !again || failed >= this.#access.endpoints.length) throw error;
      }
    }
  }

  async #connect(index: number): Promise<Client> {
    const open = this.#connections.get(index);
    if (open !== undefined) return open;
    const endpoint = this.#access.endpoints[index] ?? this.#access.endpoints[0];
    const credentials = await channelCredentials(this.#access, endpoint);
    // Another request may have been faster.
    const client = this.#connections.get(index) ?? new Client(endpoint.address, credentials, this.#channel);
    this.#connections.set(index, client);
    return client;
  }

  /** Empty where no user is configured, or etcd asks for none. */
  async #authenticate(client: Client): Promise<string> {
    const { username } = this.#access;
    if (username === undefined) return '';
    this.#token ??= this.#fetchToken(client, username);
    const token = this.#token;
    try {
      return await token;
    } catch (error) {
      if (this.#token === token) this.#token = undefined;
      throw error;
    }
  }

  async #fetchToken(client: Client, name: string): Promise<string> {
    const request = { name, password: await readPassword(this.#access) };
    try {
      const { token } = await unaryCall(client, AUTHENTICATE, request, new Metadata(), this.#timeoutMs);
      return token;
    } catch (thrown) {
      const error = etcdError(`logging in as ${name}`, thrown);
      if (error instanceof EtcdError && /authentication is not enabled/.test(error.message)) return '';
      throw error;
    }
  }

  /** Whether there can be another one. */
  #dropToken(): boolean {
    this.#token = undefined;
    return this.#access.username !== undefined;
  }

  #nameOf(index: number): string {
    return this.#access.endpoints[index]?.text ?? '';
  }

  #giveUp(index: number): void {
    this.#disconnect(index);
    if (this.#current === index) this.#current = (index + 1) % this.#access.endpoints.length;
  }

  #disconnect(index: number): void {
    this.#connections.get(index)?.close();
    this.#connections.delete(index);
  }
}

function isConnectionFailure(error: unknown): boolean {
  return error instanceof EtcdError && (error.code === 'ETCD_UNAVAILABLE' || error.code === 'ETCD_TIMEOUT');
}

async function unaryCall<Request, Response>(
  client: Client,
  method: Method<Request, Response>,
  request: Request,
  metadata: Metadata,
  timeoutMs: number,
): Promise<Response> {
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(
      method.path,
      method.serialize,
      method.deserialize,
      request,
      metadata,
      { deadline: Date.now() + timeoutMs },
      (error, response) => {
        if (error === null && response !== undefined) resolve(response);
        else reject(error ?? new Error('no answer'));
      },
    );
  });
}

async function oneAnswer<Request, Response, T>(
  call: ClientDuplexStream<Request, Response>,
  request: Request,
  read: (response: Response) => T,
): Promise<T> {
  return new Promise((resolve, reject) => {
    call.on('data', (response: Response) => {
      resolve(read(response));
      call.cancel();
    });
    call.on('error', reject);
    call.on('end', () => reject(new Error('no answer')));
    call.write(request);
  });
}

/** As etcdctl prints it. */
function leaseHex(leaseId: string): string {
  return BigInt(leaseId).toString(16).padStart(16, '0');
}
