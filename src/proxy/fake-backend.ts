import type { ProxyBackend, ProxyMode, SyncReport } from './backend.ts';
import type { ServicePort, ServicePortChange } from './services/service-port.ts';

/** A mode in memory, for tests: what it holds, what it was asked, and when it is to refuse. */
export class FakeBackend implements ProxyBackend {
  readonly mode: ProxyMode;
  /** `prepare`, `rebuild 2`, `update a/b:80/TCP/4`, `remove`, `close`. */
  readonly calls: string[] = [];
  readonly ports = new Map<string, ServicePort>();
  refusePrepare: Error | undefined;
  refuseRemove: Error | undefined;
  /** Thrown by the next calls of `rebuild` and `update`, in order. */
  readonly refusals: Error[] = [];
  /** Of the next reports, in order. */
  readonly failures: NonNullable<SyncReport['failures']>[] = [];
  /** What calls wait for, so that a test can do something meanwhile. */
  gate: Promise<void> = Promise.resolve();
  /** Somebody else took these away. */
  readonly stolen = new Set<string>();
  #busy = false;
  #watchers = new Set<() => void>();

  constructor(mode: ProxyMode) {
    this.mode = mode;
  }

  async prepare(): Promise<void> {
    return this.#alone('prepare', () => {
      if (this.refusePrepare !== undefined) throw this.refusePrepare;
    });
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<SyncReport> {
    const wanted = new Map([...ports].map((port) => [port.id, port]));
    return this.#alone(`rebuild ${wanted.size}`, () => {
      this.#refuse();
      const missing = [...wanted.keys()].filter((id) => !this.ports.has(id) || this.stolen.has(id));
      this.ports.clear();
      for (const [id, port] of wanted) this.ports.set(id, port);
      this.stolen.clear();
      return this.#report(missing);
    });
  }

  async update(changes: readonly ServicePortChange[]): Promise<SyncReport> {
    return this.#alone(`update ${changes.map(({ id }) => id).join(' ')}`, () => {
      this.#refuse();
      for (const { id, port } of changes) {
        if (port === undefined) this.ports.delete(id);
        else this.ports.set(id, port);
      }
      return this.#report(changes.map(({ id }) => id));
    });
  }

  async foreignChange(): Promise<boolean> {
    return Promise.resolve(this.stolen.size > 0);
  }

  watch(changed: () => void): () => void {
    this.#watchers.add(changed);
    return () => this.#watchers.delete(changed);
  }

  /** Somebody else takes rules away; `tell`: and the kernel says so. */
  steal(id: string, tell: boolean): void {
    this.stolen.add(id);
    if (tell) for (const watcher of this.#watchers) watcher();
  }

  async remove(): Promise<void> {
    return this.#alone('remove', () => {
      if (this.refuseRemove !== undefined) throw this.refuseRemove;
      this.ports.clear();
    });
  }

  async close(): Promise<void> {
    this.calls.push('close');
    return Promise.resolve();
  }

  #report(lines: readonly string[]): SyncReport {
    const failures = this.failures.shift();
    return { describe: () => [...lines], conflicts: [], ...(failures === undefined ? {} : { failures }) };
  }

  #refuse(): void {
    const refusal = this.refusals.shift();
    if (refusal !== undefined) throw refusal;
  }

  async #alone<T>(call: string, action: () => T): Promise<T> {
    if (this.#busy) throw new Error(`${call} during another call`);
    this.#busy = true;
    try {
      await this.gate;
      this.calls.push(call);
      return action();
    } finally {
      this.#busy = false;
    }
  }
}
