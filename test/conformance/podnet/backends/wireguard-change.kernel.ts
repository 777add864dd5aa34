import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { removeBuild } from '../small-cluster.ts';
import type { SmallNode } from '../small-node.ts';
import { Scene } from './scene.ts';
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

/** Of what ping printed. */
function lostOf(output: string): number {
  const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(output) ?? [];
  return Number(sent) - Number(received);
}

test.each([
  ['encrypted', { Type: 'wireguard' }, 'flannel-wg', 'flannel.1', 0],
  ['plain again', { Type: 'vxlan' }, 'flannel.1', 'flannel-wg', 10],
])(
  'a running cluster becomes %s, all the while reached (0.2 s at most are lost), and nothing of before is left',
  async (_, backend, device, former, tolerated) => {
    const node = scene.cluster.node(1);
    expect(isReachedBy(node, former)).toBe(true);
    const stop = new AbortController();
    let lost = 0;
    const pinging = (async () => {
      while (!stop.signal.aborted) {
        const output = await Promise.all(
          ([4, 6] as const).map(async (family) =>
            scene.ping('here', scene.party('near').ip(family), '-q', '-i', '0.02', '-c', '50', '-W', '1'),
          ),
        );
        for (const each of output) lost += lostOf(each);
      }
    })();
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
      stop.abort();
      await pinging;
    }
    expect(lost).toBeLessThanOrEqual(tolerated);
  },
  240_000,
);
