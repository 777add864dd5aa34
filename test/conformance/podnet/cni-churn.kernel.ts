import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createNetns, deleteNetns, netnsPath } from '../../../src/kernel/netns/netns.ts';
import { sleep } from '../../../src/timing/backoff.ts';
import { CniNode } from './cni-node.ts';
import { removeBuild, SmallCluster } from './small-cluster.ts';

/** How many pods come and go; ten thousand are a matter of minutes. */
const PODS = Number(process.env['FLATNET_CNI_CHURN'] ?? 600);
const AT_ONCE = 8;
const AGENT_KILLS = Math.max(3, Math.round(PODS / 500));
const GC_EVERY = 60;

vi.setConfig({ testTimeout: 120_000 + PODS * 200, hookTimeout: 150_000 });

let cni: CniNode;

beforeAll(async () => {
  const cluster = await SmallCluster.start({ backend: { Type: 'host-gw' }, nodes: 1, dualStack: true });
  cni = new CniNode(cluster, cluster.node(1));
  cni.node.startAgent();
  await cni.ready();
});

afterAll(async () => {
  await cni.cluster.stop();
  removeBuild();
});

interface Answer {
  readonly exitCode: number | null;
  readonly stdout: string;
}

/** Executes the plugin as a runtime does, and may kill it. */
async function plugin(
  command: string,
  pod: string,
  more: object = {},
  killAfterMs?: number,
): Promise<Answer> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod,
    CNI_NETNS: pod === 'none' ? '' : netnsPath(pod),
    CNI_IFNAME: 'eth0',
    CNI_PATH: join(cni.node.folder, 'bin'),
  };
  const child = spawn(join(cni.node.folder, 'bin', 'flatnet'), { env, stdio: ['pipe', 'pipe', 'ignore'] });
  const socketPath = join(cni.node.folder, 'cni.sock');
  child.stdin.on('error', () => undefined);
  child.stdin.end(
    JSON.stringify({ cniVersion: '1.1.0', name: 'cbr0', type: 'flatnet', socketPath, ...more }),
  );
  const killer = killAfterMs === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  let stdout = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
  const [exitCode] = (await once(child, 'close')) as [number | null];
  clearTimeout(killer);
  return { exitCode, stdout };
}

/** As kubelet: until it succeeds. */
async function insist(command: string, pod: string, more: object = {}): Promise<void> {
  await vi.waitFor(
    async () => {
      const { exitCode, stdout } = await plugin(command, pod, more);
      if (exitCode !== 0) throw new Error(`${command} ${pod}: ${stdout}`);
    },
    { timeout: 120_000, interval: 50 },
  );
}

class Churn {
  /** Pods that the runtime knows of, by address where they have one. */
  readonly live = new Map<string, string>();
  /** What was given twice at one time. */
  readonly twice: string[] = [];
  /** Failures that are none of the plugin's "try again". */
  readonly surprises: string[] = [];
  readonly counts = { added: 0, killed: 0, refused: 0, abandoned: 0 };
  #next = 0;
  #abandoned: string[] = [];
  #collecting: Promise<void> | undefined;

  async work(): Promise<void> {
    while (this.#next < PODS) {
      const index = this.#next;
      this.#next += 1;
      await this.#pod(index);
      if (index % GC_EVERY === GC_EVERY - 1) this.#collecting ??= this.collect();
      await this.#collecting;
    }
  }

  /** What runtimes do now and then: all but the live ones go, also what nobody has called DEL for. */
  async collect(): Promise<void> {
    const forgotten = this.#abandoned;
    this.#abandoned = [];
    const valid = [...this.live.keys()].map((containerID) => ({ containerID, ifname: 'eth0' }));
    await insist('GC', 'none', { 'cni.dev/valid-attachments': valid });
    for (const pod of forgotten) deleteNetns(pod);
    this.#collecting = undefined;
  }

  async #pod(index: number): Promise<void> {
    const pod = cni.cluster.podName(`churn${index}`);
    createNetns(pod);
    this.live.set(pod, '');
    const kill = index % 3 === 2 ? (index * 7919) % 12 : undefined;
    const { exitCode, stdout } = await plugin('ADD', pod, {}, kill);
    if (exitCode === 0) this.#took(pod, stdout);
    else if (exitCode === null) this.counts.killed += 1;
    else if (/"code":11\b/.test(stdout)) this.counts.refused += 1;
    else this.surprises.push(stdout);
    // Every other one of those that were killed is forgotten by the runtime, too.
    if (exitCode === null && index % 2 === 0) {
      this.live.delete(pod);
      this.#abandoned.push(pod);
      this.counts.abandoned += 1;
      return;
    }
    // Some pods die before their network is taken away; some DELs are killed and repeated.
    if (index % 5 === 0) deleteNetns(pod);
    if (index % 7 === 0) await plugin('DEL', pod, {}, index % 6);
    this.live.set(pod, '');
    await insist('DEL', pod);
    this.live.delete(pod);
    deleteNetns(pod);
  }

  #took(pod: string, stdout: string): void {
    this.counts.added += 1;
    const { ips } = JSON.parse(stdout) as { ips: { address: string }[] };
    const address = ips[0]?.address ?? 'none';
    if ([...this.live.values()].includes(address)) this.twice.push(`${pod} ${address}`);
    this.live.set(pod, address);
  }
}

async function killAgentNowAndThen(until: Promise<unknown>): Promise<number> {
  const over = new AbortController();
  void until.catch(() => undefined).finally(() => over.abort());
  let kills = 0;
  while (kills < AGENT_KILLS) {
    await sleep(1000 + ((kills * 977) % 3000), over.signal);
    if (over.signal.aborted) break;
    await cni.node.stopAgent('SIGKILL');
    kills += 1;
    cni.node.startAgent();
    await cni.ready();
  }
  await until;
  return kills;
}

test(`${PODS} pods come and go, every third ADD killed midway, the agent now and then: nothing is left`, async () => {
  const churn = new Churn();
  const done = Promise.all(Array.from({ length: AT_ONCE }, async () => churn.work()));
  const kills = await killAgentNowAndThen(done);
  await cni.ready();
  await churn.collect();
  expect(churn.surprises).toEqual([]);
  expect(churn.twice).toEqual([]);
  expect({ kills, ...churn.counts }).toMatchObject({
    kills: expect.toSatisfy((count: number) => count > 0),
    added: expect.toSatisfy((count: number) => count > PODS / 3),
    killed: expect.toSatisfy((count: number) => count > PODS / 20),
    abandoned: expect.toSatisfy((count: number) => count > 0),
  });
  console.log({ pods: PODS, kills, ...churn.counts });
  expect({ addresses: cni.reservations(), records: cni.records(), veths: cni.veths() }).toEqual({
    addresses: [],
    records: [],
    veths: [],
  });
  // And the node is as good as new.
  const container = cni.container();
  await cni.add(cni.list(), container);
  await cni.ping(container, '10.244.1.1');
  await cni.driver.del(cni.list(), container);
});
