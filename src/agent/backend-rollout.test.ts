import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpFamily } from '../net/ip.ts';
import type { Backend } from '../podnet/backends/backend.ts';
import { meetings } from '../podnet/backends/meeting.ts';
import { backendSchema, type BackendSettings } from '../podnet/network-config.ts';
import type { NodeLease, Offer } from '../podnet/node-lease.ts';
import { BackendRollout, GRACE_MS, RETIRE_MS } from './backend-rollout.ts';

let folder = '';
let files = 0;
const logger = pino({ level: 'silent' });

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-rollout-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

const vxlan = (vni: number): BackendSettings => backendSchema.parse({ Type: 'vxlan', VNI: vni });

function backendOf(settings: BackendSettings): Backend {
  const vni = settings.type === 'vxlan' ? settings.vni : 0;
  return {
    type: settings.type,
    name: `${settings.type} ${vni}`,
    tunnelPorts: [],
    overhead: () => 50,
    data: () => ({ VNI: vni }),
    accepts: (offer) => (offer.data.get(4) as { VNI?: number }).VNI === vni,
    planNode: () => [],
    planPeer: () => [],
  };
}

const offerOf = (backend: Backend): Offer => ({
  type: backend.type,
  data: new Map<IpFamily, unknown>([[4, { VNI: Number(backend.name.split(' ')[1]) }]]),
});

const openOne = async (each: BackendSettings) => {
  if (each.underlayMtu === 1280) throw new Error('this kernel has no such device');
  return Promise.resolve({ backend: backendOf(each), drivers: [] });
};

async function open(settings: BackendSettings, path = join(folder, `${(files += 1)}.json`)) {
  return BackendRollout.open(settings, { open: openOne, path, logger });
}

const state = ({ stage, ways, offered }: BackendRollout): string =>
  `${stage}: has ${ways.backends.map(({ name }) => name).join()}, holds ${ways.held?.name ?? 'none'}, offers ${offered.map(({ name }) => name).join()}`;

describe('a change of backend', () => {
  test('while a node never follows: two take turns for ever, the ninth is refused, and a restart goes on', async () => {
    const path = join(folder, 'never.json');
    const rollout = await open(vxlan(1), path);
    for (let turn = 0; turn < 20; turn += 1) await rollout.change(vxlan(1 + (turn % 2)));
    expect(rollout.settings).toHaveLength(2);
    for (let vni = 1; vni <= 8; vni += 1) await rollout.change(vxlan(vni));
    expect(rollout.refused).toBeUndefined();
    await rollout.change(vxlan(9));
    expect(rollout.refused?.message).toContain('8 backends are in use already: vxlan 8, vxlan 7');
    expect(rollout.wanted.name).toBe('vxlan 8');
    const again = await open(vxlan(9), path);
    expect(again.settings).toHaveLength(8);
    expect(again.wanted.name).toBe('vxlan 8');
  });

  test('goes by way of both: set up, offered, switched to, and the old one goes last', async () => {
    const rollout = await open(vxlan(1));
    const seen = { isPublished: true, awaited: 0, unmet: 0 };
    expect(state(rollout)).toBe('settled: has vxlan 1, holds none, offers vxlan 1');
    await rollout.change(vxlan(2));
    expect(state(rollout)).toBe('preparing: has vxlan 2,vxlan 1, holds vxlan 2, offers vxlan 1');
    await rollout.prepared();
    expect(state(rollout)).toBe('offered: has vxlan 2,vxlan 1, holds vxlan 2, offers vxlan 2,vxlan 1');
    expect(await rollout.advance({ ...seen, isPublished: false, now: 0 })).toEqual({ moved: false });
    expect(await rollout.advance({ ...seen, now: 10 })).toEqual({ moved: false, againInMs: GRACE_MS });
    expect(await rollout.advance({ ...seen, now: 10 + GRACE_MS })).toEqual({ moved: true });
    expect(state(rollout)).toBe('switched: has vxlan 2,vxlan 1, holds none, offers vxlan 2,vxlan 1');
    for (const waiting of [{ awaited: 1 }, { unmet: 1 }])
      expect(await rollout.advance({ ...seen, ...waiting, now: 20_000 })).toEqual({ moved: false });
    expect(await rollout.advance({ ...seen, now: 30_000 })).toEqual({ moved: false, againInMs: RETIRE_MS });
    expect(await rollout.advance({ ...seen, now: 30_000 + RETIRE_MS })).toEqual({ moved: true });
    expect(state(rollout)).toBe('settled: has vxlan 2, holds none, offers vxlan 2');
  });

  test('goes on where it was when the agent is started again, also with another configuration', async () => {
    const path = join(folder, 'again.json');
    const first = await open(vxlan(1), path);
    await first.change(vxlan(2));
    await first.prepared();
    expect(state(await open(vxlan(2), path))).toBe(state(first));
    expect(state(await open(vxlan(3), path))).toBe(
      'preparing: has vxlan 3,vxlan 2,vxlan 1, holds vxlan 3, offers vxlan 2,vxlan 1',
    );
  });

  test('an agent that is killed before the old one is gone takes it away at its next start', async () => {
    const path = join(folder, 'killed.json');
    const first = await open(vxlan(1), path);
    await first.change(vxlan(2));
    await first.prepared();
    const seen = { isPublished: true, awaited: 0, unmet: 0 };
    for (const now of [0, GRACE_MS, 10_000, 10_000 + RETIRE_MS]) await first.advance({ ...seen, now });
    expect(first.stage).toBe('settled');
    expect((await open(vxlan(2), path)).ways.backends.map(({ name }) => name)).toEqual([
      'vxlan 2',
      'vxlan 1',
    ]);
    await first.advance({ ...seen, now: 30_000 });
    expect(state(await open(vxlan(2), path))).toBe(state(first));
  });

  test('back to the old one in the middle: it is still there', async () => {
    const rollout = await open(vxlan(1));
    await rollout.change(vxlan(2));
    await rollout.prepared();
    await rollout.change(vxlan(1));
    expect(state(rollout)).toBe('switched: has vxlan 1,vxlan 2, holds none, offers vxlan 1,vxlan 2');
  });

  test('one that cannot be had is refused, and what there was stays', async () => {
    const rollout = await open(vxlan(1));
    await rollout.change(backendSchema.parse({ Type: 'vxlan', VNI: 1, Port: 4789 }));
    expect(rollout.refused?.message).toContain('they cannot exist side by side');
    await rollout.change(backendSchema.parse({ Type: 'ipip', MTU: 1280 }));
    expect(rollout.refused?.message).toContain('this kernel has no such device');
    await rollout.change(vxlan(2));
    expect(rollout.refused).toBeUndefined();
    await rollout.abandon(new Error('no room for a device'));
    expect(rollout.refused?.message).toContain('no room for a device');
    expect(state(rollout)).toBe('settled: has vxlan 1, holds none, offers vxlan 1');
  });
});

/** One node of a cluster, with what it knows of the others: what they have published reaches it at some time. */
interface SimulatedNode {
  readonly rollout: BackendRollout;
  readonly known: Map<string, NodeLease>;
  readonly inbox: NodeLease[];
  isPublished: boolean;
  clock: number;
}

const wayTo = ({ rollout, known }: SimulatedNode, to: string): Backend | undefined => {
  const lease = known.get(to);
  return lease === undefined ? undefined : meetings(rollout.ways, lease)[0]?.backend;
};

const awaitedBy = (node: SimulatedNode): number =>
  [...node.known.keys()].filter((name) => wayTo(node, name) !== node.rollout.wanted).length;

function leaseOf(name: string, node: SimulatedNode): NodeLease {
  const [first, ...more] = node.rollout.offered;
  const met = node.rollout.hasMet(awaitedBy(node));
  return {
    node: name,
    offers: [offerOf(first), ...more.map(offerOf)],
    families: new Map(),
    underlayMtu: 1500,
    met,
  };
}

/** Makes one thing happen. */
async function step(cluster: ReadonlyMap<string, SimulatedNode>, name: string, what: string): Promise<void> {
  const node = cluster.get(name);
  if (node === undefined) return;
  const { rollout } = node;
  if (what === 'change') await rollout.change(vxlan(2));
  if (what === 'prepare') await rollout.prepared();
  if (what === 'publish') {
    for (const other of cluster.values()) if (other !== node) other.inbox.push(leaseOf(name, node));
    node.isPublished = rollout.stage !== 'preparing';
  }
  if (what === 'hear') {
    const lease = node.inbox.shift();
    if (lease !== undefined) node.known.set(lease.node, lease);
  }
  if (what === 'advance') {
    node.clock += RETIRE_MS;
    const unmet = [...node.known.values()].filter(({ met }) => met === false).length;
    await rollout.advance({
      isPublished: node.isPublished,
      awaited: awaitedBy(node),
      unmet,
      now: node.clock,
    });
  }
}

async function startCluster(names: readonly string[]): Promise<Map<string, SimulatedNode>> {
  const cluster = new Map<string, SimulatedNode>();
  for (const name of names) {
    const rollout = await open(vxlan(1));
    cluster.set(name, { rollout, known: new Map(), inbox: [], isPublished: true, clock: 0 });
  }
  for (const [name, node] of cluster)
    for (const other of cluster.values()) if (other !== node) other.known.set(name, leaseOf(name, node));
  return cluster;
}

/** A node that sends by what the other end does not have (any more) loses packets. */
function expectNothingLost(cluster: ReadonlyMap<string, SimulatedNode>): void {
  for (const [from, node] of cluster) {
    for (const to of node.known.keys()) {
      const sentBy = wayTo(node, to)?.name ?? 'nothing';
      const there = cluster.get(to)?.rollout.ways.backends.map((backend) => backend.name);
      expect(there, `${from} sends to ${to} by ${sentBy}`).toContain(sentBy);
    }
  }
}

const NAMES = ['a', 'b', 'c'];

test('nothing is lost in whatever order nodes change, however late they hear of each other; and it comes to an end', async () => {
  const happening = fc.tuple(
    fc.constantFrom(...NAMES),
    fc.constantFrom('change', 'prepare', 'publish', 'hear', 'hear', 'advance', 'advance'),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 80 }), async (happenings) => {
      const cluster = await startCluster(NAMES);
      for (const [name, what] of happenings) {
        await step(cluster, name, what);
        expectNothingLost(cluster);
      }
      for (let round = 0; round < 12; round += 1) {
        for (const what of ['change', 'prepare', 'publish', 'hear', 'hear', 'hear', 'hear', 'advance']) {
          for (const name of NAMES) await step(cluster, name, what);
          expectNothingLost(cluster);
        }
      }
      for (const node of cluster.values()) while (node.inbox.length > 0) node.inbox.shift();
      expect(
        [...cluster.values()].map(({ rollout }) => rollout.ways.backends.map(({ name }) => name)),
      ).toEqual(NAMES.map(() => ['vxlan 2']));
    }),
    { numRuns: 40 },
  );
}, 60_000);
