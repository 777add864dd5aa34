import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import type { SmallNode } from '../small-node.ts';
import { Scene } from './scene.ts';
import { subject } from './subject.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start(subject('wireguard'));
}, 120_000);
afterAll(async () => {
  await scene.stop();
  removeBuild();
});

/** Every agent, one after another, with the other backend in its file. */
async function roll(backend: object): Promise<void> {
  for (const node of scene.cluster.nodes) {
    await node.stopAgent('SIGTERM');
    node.startAgent({ network: { ...scene.cluster.network, Backend: backend } });
    await node.ready();
  }
}

const isReachedBy = (node: SmallNode, device: string): boolean => {
  const index = node.kernel.link(device)?.index;
  const route = node.kernel.routes().find(({ destination }) => destination.toString() === '10.244.2.0/24');
  return index !== undefined && route?.link === index;
};

test.each([['plain again', { Type: 'vxlan' }, 'flannel.1', 'flannel-wg']])(
  'a running cluster becomes %s without losing a packet, and nothing of before is left',
  async (_, backend, device, former) => {
    const node = scene.cluster.node(1);
    expect(isReachedBy(node, former)).toBe(true);
    const stop = new AbortController();
    const lost: string[] = [];
    const pinging = (async () => {
      while (!stop.signal.aborted) {
        const output = await Promise.all(
          ([4, 6] as const).map(async (family) =>
            scene.ping('here', scene.party('near').ip(family), '-q', '-i', '0.02', '-c', '50', '-W', '1'),
          ),
        );
        lost.push(...output.filter((each) => !each.includes(' 0% packet loss')));
      }
    })();
    try {
      await roll(backend);
      await vi.waitFor(
        () => {
          for (const each of scene.cluster.nodes) expect(each.kernel.link(former)).toBeUndefined();
          expect(isReachedBy(node, device)).toBe(true);
        },
        { timeout: 60_000, interval: 100 },
      );
    } finally {
      for (const each of scene.cluster.nodes)
        console.log(
          'LOG ' +
            each.name +
            '\n' +
            each.log
              .split('\n')
              .filter((l) => /rollout|backend|change|pod network|warn|error/.test(l))
              .map((l) => l.slice(0, 420))
              .join('\n'),
        );
      stop.abort();
      await pinging;
    }
    expect(lost).toEqual([]);
  },
  120_000,
);
