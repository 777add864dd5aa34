import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from '../../kernel/exec/run.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { TrafficControl } from '../../kernel/netlink/traffic-control.ts';
import { createNetns, deleteNetns, Netns, withNetns } from '../../kernel/netns/netns.ts';
import { createLogger } from '../../log/logger.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import { NO_RUNTIME_CONFIG } from '../protocol/runtime-config.ts';
import { Bandwidth } from './bandwidth.ts';

const NODE = `fnt-bw${process.pid}-node`;
const POD = `fnt-bw${process.pid}-pod`;
const MEGABIT = 1_000_000;

let node: Netns;
let pod: Netns;
let kernel: LinuxRouteKernel;
let trafficControl: TrafficControl;
let feature: Bandwidth;

const record = (
  bandwidth: Partial<NonNullable<AttachmentRecord['runtimeConfig']['bandwidth']>>,
): AttachmentRecord => ({
  containerId: 'pod1',
  ifName: 'eth0',
  network: 'cbr0',
  netns: '',
  pod: 'default/pod1',
  mode: 'bridge',
  hostInterface: 'veth1',
  addresses: [],
  runtimeConfig: {
    ...NO_RUNTIME_CONFIG,
    bandwidth: { ingressRate: 0, ingressBurst: 0, egressRate: 0, egressBurst: 0, ...bandwidth },
  },
});

/** Mbit/s that arrive; `--reverse` is from the node to the pod. */
async function measure(...options: string[]): Promise<number> {
  const args = ['-c', '10.0.0.1', '-t', '2', '-J', ...options];
  const { stdout } = await run('iperf3', args, { netns: pod.fd, timeoutMs: 20_000 });
  const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / MEGABIT;
}

const ip = async (netns: Netns, line: string) => run('ip', line.split(' '), { netns: netns.fd });

beforeAll(async () => {
  createNetns(NODE);
  createNetns(POD);
  node = Netns.named(NODE);
  pod = Netns.named(POD);
  kernel = LinuxRouteKernel.open(node.fd);
  trafficControl = TrafficControl.open(node.fd);
  feature = new Bandwidth({ kernel, trafficControl, logger: createLogger('test', 'silent') });
  await ip(node, `link add veth1 type veth peer name eth0 netns ${POD}`);
  for (const [netns, device, address] of [
    [node, 'veth1', '10.0.0.1/24'],
    [pod, 'eth0', '10.0.0.2/24'],
  ] as const) {
    await ip(netns, `address add ${address} dev ${device}`);
    await ip(netns, `link set ${device} up`);
  }
  const server = withNetns(node.fd, () =>
    spawn('iperf3', ['-s', '--forceflush'], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  await once(server.stdout, 'data');
  end.push(async () => {
    server.kill();
    await once(server, 'exit');
  });
});

const end: (() => Promise<void>)[] = [];

afterAll(async () => {
  for (const each of end) await each();
  kernel.close();
  trafficControl.close();
  node.close();
  pod.close();
  deleteNetns(NODE);
  deleteNetns(POD);
});

const devices = (): string[] =>
  kernel
    .links()
    .filter(({ kind }) => kind === 'ifb')
    .map(({ name }) => name);

describe('bandwidth of a pod', () => {
  test('is limited in both directions, each by its own rate, from the first second', async () => {
    expect(await measure()).toBeGreaterThan(500);
    // As kubelet passes the annotations kubernetes.io/ingress-bandwidth: 20M and egress-bandwidth: 50M.
    const burst = 2 ** 31 - 1;
    const both = {
      ingressRate: 20 * MEGABIT,
      ingressBurst: burst,
      egressRate: 50 * MEGABIT,
      egressBurst: burst,
    };
    feature.add(record(both));
    const [toPod, fromPod] = [await measure('--reverse'), await measure()];
    expect(toPod).toBeGreaterThan(17);
    expect(toPod).toBeLessThan(22);
    expect(fromPod).toBeGreaterThan(44);
    expect(fromPod).toBeLessThan(54);
    expect(feature.check(record(both))).toEqual([]);
  });

  test('is read by tc as it was written', async () => {
    const { stdout } = await run('tc', ['qdisc', 'show', 'dev', 'veth1'], { netns: node.fd });
    expect(stdout).toMatch(/tbf 1: root .*rate 20Mbit burst 6(5536b|4Kb)/);
    expect(stdout).toMatch(/ingress ffff:/);
  });

  test('CHECK finds what somebody took away, and the next start puts it back', async () => {
    const wanted = record({ ingressRate: 20 * MEGABIT, egressRate: 50 * MEGABIT });
    await run('tc', ['qdisc', 'del', 'dev', 'veth1', 'root'], { netns: node.fd });
    await run('tc', ['qdisc', 'del', 'dev', 'veth1', 'ingress'], { netns: node.fd });
    expect(feature.check(wanted)).toEqual([
      'traffic to the pod is not limited to 20000000 bit/s',
      'traffic from the pod is not limited to 50000000 bit/s',
    ]);
    await feature.restore([wanted]);
    expect(feature.check(wanted)).toEqual([]);
  });

  test('a rate above 34 Gbit/s, which needs 64 bits, is written too', () => {
    const wanted = record({ ingressRate: 100_000 * MEGABIT });
    feature.add(wanted);
    expect(trafficControl.shapeOf(kernel.link('veth1')?.index ?? 0)?.bytesPerSecond).toBe(12_500 * MEGABIT);
  });

  test('leaves no device behind: by DEL, and by GC of what nobody deleted', async () => {
    expect(devices()).toHaveLength(1);
    await feature.remove(record({}), record({ egressRate: MEGABIT }));
    // As for an interface that no record tells of.
    await feature.remove(record({}), undefined);
    expect(devices()).toEqual([]);
    feature.add(record({ egressRate: MEGABIT }));
    await feature.gc(() => true);
    expect(devices()).toHaveLength(1);
    await feature.gc(() => false);
    await vi.waitFor(() => expect(devices()).toEqual([]));
  });
});
