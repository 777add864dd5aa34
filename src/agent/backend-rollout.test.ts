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

/**
 * One node of a cluster: its agent, which may die at any moment, and what is in its kernel, which stays. What others
 * have published reaches it at some time; an agent that starts is told all of it anew, one after another.
 */
interface SimulatedNode {
  readonly path: string;
  settings: BackendSettings;
  rollout: BackendRollout;
  known: Map<string, NodeLease>;
  inbox: NodeLease[];
  /** How many of the inbox belong to the list that an agent reads at its start. */
  unread: number;
  /** Whether this agent has set the node up yet. */
  isUp: boolean;
  clock: number;
  /** In its kernel: devices, and by which of them packets for each node leave. */
  devices: ReadonlySet<string>;
  readonly sends: Map<string, string>;
}

interface SimulatedCluster {
  readonly nodes: ReadonlyMap<string, SimulatedNode>;
  /** What the store holds. */
  readonly published: Map<string, NodeLease>;
}

const reachedBy = ({ rollout, known }: SimulatedNode, to: string): Backend | undefined => {
  const lease = known.get(to);
  return lease === undefined ? undefined : meetings(rollout.ways, lease)[0]?.backend;
};

const awaitedBy = (node: SimulatedNode): number =>
  [...node.known.keys()].filter((name) => reachedBy(node, name) !== node.rollout.wanted).length;

function leaseOf(name: string, node: SimulatedNode): NodeLease {
  const [first, ...more] = node.rollout.offered;
  return {
    node: name,
    offers: [offerOf(first), ...more.map(offerOf)],
    families: new Map(),
    underlayMtu: 1500,
    met: node.unread === 0 && node.rollout.hasMet(awaitedBy(node)),
  };
}

/** Makes the kernel what the agent wants. Before it knows all nodes it takes nothing away. */
function program(node: SimulatedNode): void {
  if (!node.isUp) return;
  const wanted = node.rollout.ways.backends.map(({ name }) => name);
  node.devices = new Set(node.unread === 0 ? wanted : [...node.devices, ...wanted]);
  for (const to of node.known.keys()) node.sends.set(to, reachedBy(node, to)?.name ?? 'nothing');
}

async function advance(cluster: SimulatedCluster, name: string, node: SimulatedNode): Promise<void> {
  if (!node.isUp || node.unread > 0) return;
  node.clock += RETIRE_MS;
  const { rollout } = node;
  await rollout.advance({
    isPublished: cluster.published.get(name)?.offers.length === rollout.offered.length,
    awaited: awaitedBy(node),
    unmet: [...node.known.values()].filter(({ met }) => met === false).length,
    now: node.clock,
  });
}

/** The agent dies, and another one begins: with the file that tells the stage, and the configuration as it is now. */
async function restart(cluster: SimulatedCluster, name: string, node: SimulatedNode): Promise<void> {
  node.rollout = await open(node.settings, node.path);
  node.known = new Map();
  node.inbox = [...cluster.published.values()].filter((lease) => lease.node !== name);
  node.unread = node.inbox.length;
  node.isUp = false;
  node.clock = 0;
}

/** Makes one thing happen. */
async function step(cluster: SimulatedCluster, name: string, what: string): Promise<void> {
  const node = cluster.nodes.get(name);
  if (node === undefined) return;
  if (what === 'configure') node.settings = vxlan(2);
  if (what === 'change' && node.settings.type === 'vxlan') await node.rollout.change(node.settings);
  if (what === 'set up') {
    node.isUp = true;
    program(node);
    await node.rollout.prepared();
  }
  if (what === 'publish' && node.isUp) {
    program(node);
    const lease = leaseOf(name, node);
    cluster.published.set(name, lease);
    for (const other of cluster.nodes.values()) if (other !== node) other.inbox.push(lease);
  }
  if (what === 'hear') {
    const lease = node.inbox.shift();
    if (lease !== undefined) node.known.set(lease.node, lease);
    node.unread = Math.max(0, node.unread - 1);
    program(node);
  }
  if (what === 'advance') await advance(cluster, name, node);
  if (what === 'kill') await restart(cluster, name, node);
}

async function startCluster(names: readonly string[]): Promise<SimulatedCluster> {
  const nodes = new Map<string, SimulatedNode>();
  for (const name of names) {
    const path = join(folder, `${(files += 1)}.json`);
    const rollout = await open(vxlan(1), path);
    nodes.set(name, {
      path,
      settings: vxlan(1),
      rollout,
      known: new Map(),
      inbox: [],
      unread: 0,
      isUp: true,
      clock: 0,
      devices: new Set(),
      sends: new Map(),
    });
  }
  const published = new Map([...nodes].map(([name, node]) => [name, leaseOf(name, node)]));
  for (const [name, node] of nodes) {
    for (const lease of published.values()) if (lease.node !== name) node.known.set(lease.node, lease);
    program(node);
  }
  return { nodes, published };
}

/** A node that sends by what the other end does not have (any more) loses packets. */
function expectNothingLost({ nodes }: SimulatedCluster): void {
  for (const [from, node] of nodes) {
    for (const [to, sentBy] of node.sends) {
      expect([...(nodes.get(to)?.devices ?? [])], `${from} sends to ${to} by ${sentBy}`).toContain(sentBy);
    }
  }
}

const NAMES = ['a', 'b', 'c'];
const ORDERLY = ['configure', 'change', 'set up', 'publish', 'hear', 'hear', 'hear', 'hear', 'advance'];
const HASTY = ['advance', 'advance', 'publish'];
/** An agent dies, and the next one is told of the other nodes late. */
const SLOW_STORE = ['kill', 'set up', ...HASTY];

test('nothing is lost in whatever order nodes change and their agents die, however late they hear of each other; and it comes to an end', async () => {
  // One thing, or a node's whole round: by single things alone no cluster would ever get far.
  const happening = fc.tuple(
    fc.constantFrom(...NAMES),
    fc.oneof(
      fc.constantFrom(...ORDERLY, 'set up', 'publish', 'advance', 'kill', 'kill').map((what) => [what]),
      fc.constantFrom(ORDERLY, HASTY, SLOW_STORE),
    ),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(happening, { maxLength: 30, size: 'max' }), async (happenings) => {
      const cluster = await startCluster(NAMES);
      for (const [name, whats] of happenings) {
        for (const what of whats) {
          await step(cluster, name, what);
          expectNothingLost(cluster);
        }
      }
      const isDone = (): boolean =>
        [...cluster.nodes.values()].every(
          ({ rollout, devices }) => rollout.stage === 'settled' && [...devices].join() === 'vxlan 2',
        );
      for (let round = 0; round < 40 && !isDone(); round += 1) {
        for (const what of ORDERLY) {
          for (const name of NAMES) await step(cluster, name, what);
          expectNothingLost(cluster);
        }
      }
      expect(isDone()).toBe(true);
    }),
    { numRuns: 30 },
  );
}, 60_000);
