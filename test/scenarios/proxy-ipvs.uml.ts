import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { LoneProxy } from './lone-proxy.ts';
import { expectUnharmed } from './service-load.ts';

// One processor, and a kernel in which a system call takes ten times as long and a process a third of a second to start:
// at 100 connections a second caller and pods alone would fill it, and what the proxy's start then delays is no longer
// the proxy's doing.
const RATE = 30;
/** Between what happens to the proxy. */
const PHASE_MS = 8000;
/** What a pod lives on for, once no new connections come to it. */
const GRACE_MS = 1500;
const LOOK_EVERY_MS = 250;
const PODS_EVERY_MS = 2000;
const HELD = 4;
const TIMEOUT_MS = 240_000;

let proxy: LoneProxy | undefined;

afterEach(async () => {
  await proxy?.stop();
  proxy = undefined;
});

/** A new pod every now and then, for which the oldest one goes. */
class PodChurn {
  readonly #proxy: LoneProxy;
  readonly #over: AbortSignal;
  readonly #churning: Promise<void>;
  readonly #leaving: Promise<void>;
  #terminating = 0;
  #left = 0;

  constructor(proxy: LoneProxy, over: AbortSignal) {
    this.#proxy = proxy;
    this.#over = over;
    this.#churning = this.#churn();
    this.#leaving = this.#leave();
  }

  /** How many went. */
  async end(): Promise<number> {
    await this.#churning;
    await this.#leaving;
    return this.#left;
  }

  async #churn(): Promise<void> {
    for (; !this.#over.aborted; this.#terminating += 1) {
      this.#proxy.addPod();
      await this.#pause(PODS_EVERY_MS);
      this.#proxy.terminatePod(this.#terminating);
    }
  }

  /** While no proxy is there nobody takes pods out: they serve until then, however long a proxy takes to start here. */
  async #leave(): Promise<void> {
    while (!this.#over.aborted) {
      await this.#pause(LOOK_EVERY_MS);
      if (this.#left === this.#terminating) continue;
      await this.#proxy.isLeftOut(this.#left);
      await this.#pause(GRACE_MS);
      if (this.#over.aborted) return;
      this.#proxy.removePod(this.#left);
      this.#left += 1;
    }
  }

  async #pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#over }).catch(() => {});
  }
}

test(
  'ipvs: endpoints come and go, the proxy is killed twice, no request fails',
  async () => {
    const running = await LoneProxy.start('churn', 'ipvs', 4);
    proxy = running;
    const load = await running.load(RATE);
    const over = new AbortController();
    const churn = new PodChurn(running, over.signal);
    try {
      await sleep(PHASE_MS);
      for (let crashes = 0; crashes < 2; crashes += 1) {
        await running.crash();
        await running.isBack();
        await sleep(PHASE_MS);
      }
    } finally {
      over.abort();
    }
    const result = await load.end();
    const left = await churn.end();
    console.log(`ipvs: ${left} pods left, ${JSON.stringify(result)}`);
    expectUnharmed(result);
    expect(result.perSecond).toBeGreaterThan(RATE * 0.9);
    expect(left).toBeGreaterThan(5);
  },
  TIMEOUT_MS,
);

test(
  'iptables, ipvs and back under load: connections live on, new ones are answered',
  async () => {
    const running = await LoneProxy.start('switch', 'iptables', 3);
    proxy = running;
    const loads = [await running.load(RATE, HELD)];
    await sleep(1000);
    for (const mode of ['ipvs', 'iptables', 'ipvs']) {
      await running.switchMode(mode);
      // Connections that begin in this mode, and live through all that follow.
      loads.push(await running.load(1, HELD));
      await sleep(3000);
    }
    const results = await Promise.all(loads.map(async (load) => load.end()));
    for (const result of results) expectUnharmed(result);
    expect(results.map(({ held }) => held.length)).toEqual([HELD, HELD, HELD, HELD]);
  },
  TIMEOUT_MS,
);
