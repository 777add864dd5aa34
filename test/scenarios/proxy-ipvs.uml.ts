import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { LoneProxy } from './lone-proxy.ts';
import { expectUnharmed } from './service-load.ts';

// One processor, and a kernel that is two to three times slower: fewer connections a second than elsewhere.
const RATE = 150;
const SECONDS = 20;

let proxy: LoneProxy | undefined;

afterEach(async () => {
  await proxy?.stop();
  proxy = undefined;
});

test('ipvs: endpoints come and go, the proxy is killed twice, no request fails', async () => {
  const running = await LoneProxy.start('churn', 'ipvs', 4);
  proxy = running;
  const over = new AbortController();
  const load = running.load(RATE, SECONDS).finally(() => over.abort());
  const pause = async (ms: number): Promise<void> => {
    await sleep(ms, undefined, { signal: over.signal }).catch(() => {});
  };
  const churn = async (): Promise<number> => {
    let oldest = 0;
    for (; !over.signal.aborted; oldest += 1) {
      running.addPod();
      await pause(300);
      running.terminatePod(oldest);
      await pause(4000);
      running.removePod(oldest);
    }
    return oldest;
  };
  // Several pods are going at any time.
  const churning = [churn()];
  for (const _ of [1, 2]) {
    await pause((SECONDS * 1000) / 3);
    await running.crash();
  }
  const result = await load;
  console.log(`ipvs: ${JSON.stringify(result)}`);
  expectUnharmed(result);
  expect(result.perSecond).toBeGreaterThan(RATE * 0.9);
  expect((await Promise.all(churning))[0]).toBeGreaterThan(3);
});

test('iptables, ipvs and back under load: connections live on, new ones are answered', async () => {
  const running = await LoneProxy.start('switch', 'iptables', 3);
  proxy = running;
  const loads = [running.load(RATE, SECONDS, 4)];
  await sleep(1000);
  for (const [index, mode] of ['ipvs', 'iptables', 'ipvs'].entries()) {
    await running.switchMode(mode);
    // Connections that begin in this mode, and live through all that follow.
    loads.push(running.load(1, SECONDS - 4 * (index + 1), 4));
    await sleep(3000);
  }
  const results = await Promise.all(loads);
  for (const result of results) expectUnharmed(result);
  expect(results.map(({ held }) => held.length)).toEqual([4, 4, 4, 4]);
});
