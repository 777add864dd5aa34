import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { LoneProxy } from './lone-proxy.ts';
import { expectUnharmed } from './service-load.ts';

// One processor, and a kernel in which a system call takes ten times as long and a process a third of a second to start:
// at 100 connections a second caller and pods alone would fill it, and what the proxy's start then delays is no longer
// the proxy's doing. Pods serve on for as long as the proxy takes to be there again.
const RATE = 30;
const SECONDS = 45;
const GRACE_MS = 15_000;
const PODS_EVERY_MS = 3000;
const HELD = 4;
const TIMEOUT_MS = 240_000;

let proxy: LoneProxy | undefined;

afterEach(async () => {
  await proxy?.stop();
  proxy = undefined;
});

test(
  'ipvs: endpoints come and go, the proxy is killed twice, no request fails',
  async () => {
    const running = await LoneProxy.start('churn', 'ipvs', 4);
    proxy = running;
    const load = await running.load(RATE);
    const over = new AbortController();
    const pause = async (ms: number): Promise<void> => {
      await sleep(ms, undefined, { signal: over.signal }).catch(() => {});
    };
    const leaving: Promise<void>[] = [];
    const leave = async (pod: number): Promise<void> => {
      running.terminatePod(pod);
      await pause(GRACE_MS);
      // Too early is unfair: those that are still serving at the end stay.
      if (!over.signal.aborted) running.removePod(pod);
    };
    const churn = async (): Promise<number> => {
      let oldest = 0;
      for (; !over.signal.aborted; oldest += 1) {
        running.addPod();
        await pause(PODS_EVERY_MS);
        leaving.push(leave(oldest));
      }
      return oldest;
    };
    const churning = churn();
    for (const crash of [true, true, false]) {
      await sleep((SECONDS * 1000) / 3);
      if (crash) await running.crash();
    }
    const result = await load.end();
    over.abort();
    console.log(`ipvs: ${JSON.stringify(result)}`);
    expectUnharmed(result);
    expect(result.perSecond).toBeGreaterThan(RATE * 0.9);
    expect(await churning).toBeGreaterThan(8);
    await Promise.all(leaving);
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
