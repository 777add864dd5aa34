import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { removeBuild, SmallCluster, type SmallNode } from '../conformance/podnet/small-cluster.ts';
import { Containerd } from './containerd.ts';

let cluster: SmallCluster;
let node: SmallNode;
let runtime: Containerd;

const startOn = async (on: SmallNode): Promise<Containerd> =>
  Containerd.start({
    netns: on.netns.fd,
    binDir: join(on.folder, 'bin'),
    confDir: join(on.folder, 'net.d'),
  });

beforeAll(async () => {
  cluster = await SmallCluster.start({ backend: { Type: 'vxlan' }, nodes: 2, dualStack: true });
  node = cluster.node(1);
  runtime = await startOn(node);
});

afterAll(async () => {
  await runtime?.stop();
  await cluster?.stop();
  removeBuild();
});

const network = async () => (await runtime.cri.conditions()).find(({ type }) => type === 'NetworkReady');

describe('containerd', () => {
  test('calls the node ready when the agent is, and not before', async () => {
    expect(await network()).toMatchObject({ status: false });
    for (const each of cluster.nodes) each.startAgent();
    for (const each of cluster.nodes) await each.ready();
    await vi.waitFor(async () => expect(await network()).toMatchObject({ status: true }), {
      timeout: 10_000,
    });
  });

  test('runs a pod with an address of each family', async () => {
    const pod = await runtime.cri.runPod({ name: 'first' });
    const [v4, v6] = await runtime.cri.addresses(pod);
    expect(v4).toMatch(/^10\.244\.1\./);
    expect(v6).toMatch(/^fd00:10:244:1::/);
    const { stdout } = await node.run('ping', ['-c1', '-W2', v4 ?? '']);
    expect(stdout).toContain('1 received');
  });
});
