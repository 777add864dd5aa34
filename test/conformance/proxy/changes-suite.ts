import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ConntrackSocket } from '../../../src/kernel/conntrack/conntrack-socket.ts';
import type { IpFamily } from '../../../src/net/ip.ts';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import { AFFINITY_STORIES } from './changes/affinity.ts';
import { COLLISION_STORIES } from './changes/collisions.ts';
import { ENDPOINT_STORIES } from './changes/endpoints.ts';
import { SERVICE_STORIES } from './changes/services.ts';
import { CallSlots } from './call-slots.ts';
import { Scene, type Story } from './changes/scene.ts';
import type { ConformingMode } from './modes.ts';
import { DEFAULT_SETTINGS } from './rows/settings.ts';
import { TestCluster } from './test-cluster.ts';
import { ProxyNetwork } from './topology.ts';

const STORIES: readonly Story[] = [
  ...ENDPOINT_STORIES,
  ...SERVICE_STORIES,
  ...COLLISION_STORIES,
  ...AFFINITY_STORIES,
];

/** How long connections of a Service that is gone may take to end, milliseconds. */
const DRAINED_MS = 20_000;

interface Case {
  readonly story: Story;
  readonly family: IpFamily;
  readonly number: number;
}

/**
 * What changes lead to, on the real kernel. All stories are told at the same time, each of Services of its own: a
 * backend that confuses them is found too.
 */
export function describeChanges(mode: ConformingMode): void {
  const network = new ProxyNetwork(`fnt-pc${process.pid}`);
  const cases = STORIES.flatMap((story, index) =>
    ([4, 6] as const).map((family): Case => ({
      story,
      family,
      number: 1 + index * 6 + (family === 4 ? 0 : 3),
    })),
  );
  const told = new Map<Case, Promise<void>>();
  let backend: ProxyBackend;
  let cluster: TestCluster;
  let conntrack: ConntrackSocket;
  beforeAll(async () => {
    await network.start();
    conntrack = ConntrackSocket.open(network.node.netns.fd);
    backend = await mode.open(DEFAULT_SETTINGS, network.node.netns.fd);
    cluster = new TestCluster(backend, conntrack);
    await cluster.rebuild();
    const stage = { network, cluster, slots: new CallSlots() };
    const tellable = cases.filter(({ story }) => story.except?.[mode.mode] === undefined);
    const tell = async ({ story, family, number }: Case): Promise<void> =>
      await story.tell(new Scene(stage, family, number));
    for (const one of tellable) if (one.story.quiet !== true) told.set(one, tell(one));
    const others = Promise.allSettled(told.values());
    for (const one of tellable)
      if (one.story.quiet === true)
        told.set(
          one,
          others.then(async () => tell(one)),
        );
    // Each is looked at in its own test.
    for (const telling of told.values()) telling.catch(() => {});
  });
  afterAll(async () => {
    await Promise.allSettled(told.values());
    await backend.close();
    conntrack.close();
    network.stop();
  });
  describe.each([4, 6] as const)('IPv%d', (family) => {
    const own = cases.filter((one) => one.family === family);
    test.for(own.map((one) => [one.story.name, one] as const))('%s', async ([, one], context) => {
      const reason = one.story.except?.[mode.mode];
      context.skip(reason !== undefined, reason);
      await expect(told.get(one)).resolves.toBeUndefined();
    });
  });
  test('after all of them a new process finds nothing to do', async () => {
    await Promise.allSettled(told.values());
    const next = async (): Promise<string[]> => {
      await backend.close();
      backend = await mode.open(DEFAULT_SETTINGS, network.node.netns.fd);
      return (await cluster.rebuild(backend)).describe();
    };
    const toDo = async (): Promise<string[]> => (await next()).filter((line) => !line.endsWith(' weight 0'));
    // In ipvs a Service that is gone stays until its connections have ended: whoever sees that first removes it.
    const until = Date.now() + (mode.mode === 'ipvs' ? DRAINED_MS : 0);
    let left = await toDo();
    while (left.length > 0 && Date.now() < until) left = await toDo();
    expect(left).toEqual([]);
  });
}
