import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import type { SmallNode } from '../small-node.ts';
import { Scene } from './scene.ts';
import { SteadyStream } from './steady-stream.ts';
import { subject } from './subject.ts';

let scene: Scene;

beforeAll(async () => {
  scene = await Scene.start(subject('vxlan'));
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

test.each([
  ['encrypted', { Type: 'wireguard' }, 'flannel-wg', 'flannel.1'],
  ['plain again', { Type: 'vxlan' }, 'flannel.1', 'flannel-wg'],
])(
  'a running cluster becomes %s: no packet is lost, and nothing of before is left',
  async (_, backend, device, former) => {
    const node = scene.cluster.node(1);
    expect(isReachedBy(node, former)).toBe(true);
    const [here, near] = [scene.party('here'), scene.party('near')];
    const streams = ([4, 6] as const).flatMap((family) => [
      new SteadyStream(here, near, family),
      new SteadyStream(near, here, family),
    ]);
    let ends;
    try {
      await roll(backend);
      await vi.waitFor(
        () => {
          for (const each of scene.cluster.nodes) expect(each.kernel.link(former)).toBeUndefined();
          expect(isReachedBy(node, device)).toBe(true);
        },
        { timeout: 120_000, interval: 100 },
      );
    } finally {
      ends = await Promise.all(streams.map(async (stream) => stream.end()));
    }
    for (const { sent, lost, refused } of ends) {
      expect({ lost, refused }).toEqual({ lost: [], refused: [] });
      expect(sent).toBeGreaterThan(100);
    }
  },
  240_000,
);
