import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import type { ServicePort } from '../../../src/proxy/services/service-port.ts';
import type { LocalTraffic, ProxySettings } from '../../../src/proxy/settings.ts';
import { RandomCluster } from './random-cluster.ts';
import { change, packet } from './random-objects.ts';
import { DEFAULT_SETTINGS } from './rows/settings.ts';
import { SlowModel, type SlowMode, type SlowSettings } from './slow-model.ts';
import { TOPOLOGY } from './test-cluster.ts';
import { ADDRESSES, nodeAddresses } from './topology.ts';
import type { TracedNode, TracedPacket, Tracer } from './verdict.ts';

/** A backend over a kernel, real or fake, and what is seen in that. */
export interface Subject {
  readonly backend: ProxyBackend;
  /** All that Services make of the kernel, with what may differ (order, numbers) made the same. */
  observe(): Promise<string[]>;
  tracer(node: TracedNode): Promise<Tracer>;
  close(): Promise<void>;
}

export interface RandomMode {
  readonly name: string;
  readonly rules: SlowMode;
  open(settings: ProxySettings): Promise<Subject>;
  /** A kernel that has nothing yet. Default: as `open`. */
  openFresh?(settings: ProxySettings): Promise<Subject>;
}

export interface RandomOptions {
  /** So many times, in all runs together, the state is compared with that of a full sync. */
  readonly steps: number;
  readonly packetsPerStep: number;
}

/** What all runs begin with, unless the environment says otherwise: a run that failed is repeated by its seed. */
const SEED = Number(process.env['FLATNET_SEED'] ?? 20_261_121);

/** Told by the name of each run: what kube-proxy's detection modes make of a packet. */
const DETECTIONS: readonly { readonly name: string; readonly settings: Partial<ProxySettings> }[] = [
  { name: 'ClusterCIDR', settings: {} },
  {
    name: 'bridge, masquerade all',
    settings: { localTraffic: { kind: 'bridge', device: 'cni0' }, masqueradeAll: true },
  },
  {
    name: 'no detection, node ports everywhere',
    settings: { localTraffic: { kind: 'none' }, nodePortAddresses: 'all', localhostNodePorts: true },
  },
];

/**
 * Random changes of Services and EndpointSlices; after each, the kernel's state is that of a full sync from scratch and
 * random packets meet what the slow model says. They are shared out among several settings.
 */
export function describeRandomChanges(mode: RandomMode, options: RandomOptions): void {
  test.each(DETECTIONS)(
    `${mode.name}, $name: any change leaves what a full sync would (seed ${SEED})`,
    async ({ settings }) => {
      const compared = await runSteps(mode, { ...DEFAULT_SETTINGS, ...settings }, options);
      expect(compared).toBe(Math.ceil(options.steps / DETECTIONS.length));
    },
    120_000,
  );
}

/** Goes on until the state could be compared as often as is wanted; returns how often it was. */
async function runSteps(mode: RandomMode, settings: ProxySettings, options: RandomOptions): Promise<number> {
  const { packetsPerStep } = options;
  const wanted = Math.ceil(options.steps / DETECTIONS.length);
  // Owners that cannot be told from a list of Services are rare.
  const steps = Math.ceil(wanted * 1.1);
  const batches = fc.oneof(
    { weight: 5, arbitrary: fc.array(change, { minLength: 1, maxLength: 1 }) },
    { weight: 1, arbitrary: fc.array(change, { minLength: 2, maxLength: 5 }) },
  );
  const changes = fc.sample(batches, { seed: SEED, numRuns: steps });
  const packets = fc.sample(packet, { seed: SEED + 1, numRuns: steps * packetsPerStep });
  const slow = new SlowModel(slowSettings(settings), mode.rules);
  const cluster = new RandomCluster(slow);
  const subject = await mode.open(settings);
  let compared = 0;
  try {
    await subject.backend.prepare();
    await subject.backend.rebuild([]);
    for (const [index, batch] of changes.entries()) {
      if (compared === wanted) break;
      const about = `step ${index} of seed ${SEED}: ${JSON.stringify(batch)}`;
      await subject.backend.update(cluster.take(batch));
      const own = packets.slice(index * packetsPerStep, (index + 1) * packetsPerStep);
      await comparePackets(subject, slow, own, about);
      const ports = inOrderOfOwners(cluster.fromScratch(), slow);
      if (ports === undefined) continue;
      compared += 1;
      const differences = compare(await subject.observe(), await observeFresh(mode, settings, ports));
      expect(differences.length === 0 ? [] : [about, ...differences]).toEqual([]);
    }
  } finally {
    await subject.close();
  }
  return compared;
}

async function comparePackets(
  subject: Subject,
  slow: SlowModel,
  random: readonly TracedPacket[],
  about: string,
): Promise<void> {
  const node = { addresses: [...nodeAddresses(4), ...nodeAddresses(6)] };
  const tracer = await subject.tracer(node);
  // Those to contested places first: they show who has them.
  for (const traced of [...contestedPackets(slow), ...random]) {
    const verdict = tracer.trace(traced);
    const complaint = slow.accepts(traced, verdict)
      ? ''
      : `${about}\npacket ${JSON.stringify(traced)} meets ${JSON.stringify(verdict)}, not ${JSON.stringify(slow.expected(traced))}`;
    expect(complaint).toBe('');
  }
}

/** What a full sync would not have (`left`), or would (`missing`). */
function compare(observed: readonly string[], fresh: readonly string[]): string[] {
  const wanted = new Set(fresh);
  const have = new Set(observed);
  return [
    ...observed.filter((line) => !wanted.has(line)).map((line) => `left: ${line}`),
    ...fresh.filter((line) => !have.has(line)).map((line) => `missing: ${line}`),
  ];
}

/** From all sides, to all that more than one Service claims. */
function contestedPackets(slow: SlowModel): TracedPacket[] {
  return slow.contested().flatMap(({ key }) => {
    const [place = '', protocol = '', port = ''] = key.split(' ');
    const family = place.includes(':') || place === 'node6' ? 6 : 4;
    const at = ADDRESSES[family];
    const destination = place.startsWith('node') ? at.node : place;
    const to = { destination, protocol: protocol as TracedPacket['protocol'], port: Number(port) };
    return [
      { source: at.pod, inputDevice: 'cni0', ...to },
      { source: at.outside, inputDevice: 'eth0', ...to },
      { source: at['remote-pod'], inputDevice: 'eth0', ...to },
      { source: at.node, inputDevice: undefined, ...to },
    ];
  });
}

/**
 * The service ports in an order in which everybody gets what they have; undefined where two have what the other one
 * waits for, or where it was not seen who has what.
 */
function inOrderOfOwners(ports: readonly ServicePort[], slow: SlowModel): ServicePort[] | undefined {
  const before = new Map<string, Set<string>>();
  for (const { claimants, owners } of slow.contested()) {
    const [owner] = owners;
    if (owners.length > 1 || owner === undefined) return undefined;
    for (const id of claimants) if (id !== owner) before.set(id, (before.get(id) ?? new Set()).add(owner));
  }
  const ordered: ServicePort[] = [];
  const placed = new Set<string>();
  while (ordered.length < ports.length) {
    const next = ports.find(
      ({ id }) => !placed.has(id) && [...(before.get(id) ?? [])].every((owner) => placed.has(owner)),
    );
    if (next === undefined) return undefined;
    ordered.push(next);
    placed.add(next.id);
  }
  return ordered;
}

async function observeFresh(
  mode: RandomMode,
  settings: ProxySettings,
  ports: readonly ServicePort[],
): Promise<string[]> {
  const fresh = mode.openFresh === undefined ? await mode.open(settings) : await mode.openFresh(settings);
  try {
    await fresh.backend.prepare();
    await fresh.backend.rebuild(ports);
    return await fresh.observe();
  } finally {
    await fresh.close();
  }
}

function slowSettings(settings: ProxySettings): SlowSettings {
  const { nodePortAddresses } = settings;
  return {
    name: TOPOLOGY.nodeName,
    zone: TOPOLOGY.zone,
    addresses: [...nodeAddresses(4), ...nodeAddresses(6)],
    nodePortAddresses: nodePortAddresses === 'all' ? undefined : nodePortAddresses.map(String),
    localhostNodePorts: settings.localhostNodePorts,
    isPodTraffic: podTraffic(settings.localTraffic),
    serviceCidrs: settings.serviceCidrs.map(String),
    masqueradeAll: settings.masqueradeAll,
  };
}

function podTraffic(local: LocalTraffic): SlowSettings['isPodTraffic'] {
  switch (local.kind) {
    case 'none':
      return undefined;
    case 'cidrs':
      return ({ source }) => local.cidrs.some((cidr: Cidr) => cidr.contains(Ip.parse(source)));
    case 'bridge':
      return ({ inputDevice }) => inputDevice === local.device;
    default:
      return ({ inputDevice }) => inputDevice?.startsWith(local.prefix) === true;
  }
}
