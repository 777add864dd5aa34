/** What /healthz, /livez and load balancers' checks tell of the proxy. */
export interface ProxyHealth {
  /** Rules of everything that is known are in the kernel, and the last change was taken. */
  readonly healthy: boolean;
  /** Why not healthy. */
  readonly reason?: string;
  /** When the kernel last took a change; milliseconds since the epoch. */
  readonly lastSyncMs?: number;
  /**
   * kube-proxy's own measure, for /livez: true while starting, and until a change has waited for longer than twice
   * the sync period.
   */
  readonly live: boolean;
  /** False: the Node is about to be deleted, so /healthz is 503 and load balancers leave it. */
  readonly nodeEligible: boolean;
  /** Since when something waits to be programmed, ms since the epoch; absent: nothing does. */
  readonly pendingSinceMs?: number;
}

/** Keeps what ProxyHealth tells; `pkg/proxy/healthcheck/proxy_health.go` of kube-proxy has the rules. */
export class HealthState {
  readonly #now: () => number;
  /** Milliseconds; twice the sync period. */
  timeoutMs = 60_000;
  nodeEligible = true;
  #waitingSince: number | undefined;
  #lastSyncMs: number | undefined;
  #failure: string | undefined = 'not started';

  /** `now`: milliseconds since the epoch. */
  constructor(now: () => number = Date.now) {
    this.#now = now;
  }

  get failure(): string | undefined {
    return this.#failure;
  }

  /** Something is to be programmed. True: nothing was before. */
  queued(): boolean {
    if (this.#waitingSince !== undefined) return false;
    this.#waitingSince = this.#now();
    return true;
  }

  /** The kernel has everything; `stillWaiting`: up to what came meanwhile. */
  synced(stillWaiting: boolean): void {
    this.#lastSyncMs = this.#now();
    this.#waitingSince = stillWaiting ? this.#lastSyncMs : undefined;
    this.#failure = undefined;
  }

  failed(reason: string): void {
    this.#failure = reason;
    this.queued();
  }

  get(): ProxyHealth {
    const waiting = this.#waitingSince === undefined ? 0 : this.#now() - this.#waitingSince;
    return {
      healthy: this.#failure === undefined,
      ...(this.#failure === undefined ? {} : { reason: this.#failure }),
      ...(this.#lastSyncMs === undefined ? {} : { lastSyncMs: this.#lastSyncMs }),
      ...(this.#waitingSince === undefined ? {} : { pendingSinceMs: this.#waitingSince }),
      live: this.#lastSyncMs === undefined || waiting < this.timeoutMs,
      nodeEligible: this.nodeEligible,
    };
  }

  /** Begins to wait for something: not a failure that counts against `live`. */
  waitFor(reason: string): void {
    this.#failure = reason;
  }
}
