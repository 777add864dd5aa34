import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import type { RouteEvent } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import { diff, formatDiff, isEmpty, type Diff } from '../reconcile/diff.ts';
import { WorkQueue } from '../reconcile/work-queue.ts';
import { planPeer, type Backend, type LocalNode, type PeerPlan } from './backends/backend.ts';
import type { EntryDriver } from './backends/entry-driver.ts';
import { entryKey, formatEntry, sameEntry, type Entry } from './backends/entry.ts';
import { inOrder, KernelEntries } from './backends/kernel-entries.ts';
import { meetings, noMeeting, type Choice } from './backends/meeting.ts';
import { EventFilter } from './event-filter.ts';
import type { NodeLease } from './node-lease.ts';
import { PodCidrIndex, type Overlap } from './pod-cidr-index.ts';

export interface PodNetworkOptions {
  readonly kernel: RouteKernel;
  readonly logger: Logger;
  /** Called when what is wrong with a node has changed; an empty list: nothing any more. */
  readonly onProblems: (node: string, problems: readonly FlatnetError[]) => void;
  /** The underlay's device has changed (MTU, addresses): `setLocal` may be due. */
  readonly onUnderlayChange: () => void;
  /** A peer has been planned anew: what it is reached by may be another backend. */
  readonly onReached?: () => void;
  /** Everything is read back and compared so often, milliseconds. Default one minute. */
  readonly verifyMs?: number;
}

const NOTHING: ReadonlyMap<string, Entry> = new Map();
/** Owner of the entries that the node needs for itself. */
const OWN = '';
const REPAIR = 'repair';
const PEER_PREFIX = 'node/';
/** Deleting a device brings many events; one repair answers them all. */
const REPAIR_DELAY_MS = 20;

/** How this node can be reached: the wanted backend first, a former one behind it while a peer still needs it. */
export interface Ways extends Choice {
  /** For entries that rtnetlink cannot make. */
  readonly drivers: readonly EntryDriver[];
}

interface Desired {
  readonly entry: Entry;
  readonly owner: string;
}

/**
 * Keeps the kernel as the backend's plans want it. A change of one node costs that node's entries. What is in the
 * kernel at the start is adopted; what nobody wants is pruned only after `allowPrune`. A device or route that
 * somebody else takes away comes back with all that belongs to it.
 */
export class PodNetwork {
  readonly #options: PodNetworkOptions;
  readonly #queue: WorkQueue;
  readonly #leases = new Map<string, NodeLease>();
  readonly #desired = new Map<string, Desired>();
  readonly #byOwner = new Map<string, readonly Entry[]>();
  /** What is known to be in the kernel. */
  readonly #actual = new Map<string, Entry>();
  /**
   * What was in the kernel at the start, until all nodes are known: of two that claim the same, it says who had it. By
   * the order alone in which they are told, a restart would hand a node's traffic to whoever has copied its MAC.
   */
  #adopted: ReadonlyMap<string, Entry> | undefined;
  /** Nodes some of whose entries another node has claimed before. */
  readonly #blocked = new Set<string>();
  readonly #troubled = new Set<string>();
  readonly #metBy = new Map<string, Backend>();
  readonly #podCidrs = new PodCidrIndex();
  /** Nodes whose ranges met others' when they were looked at last. */
  readonly #overlapping = new Set<string>();
  readonly #filter: EventFilter;
  readonly #rtnetlink: KernelEntries;
  #local: LocalNode | undefined;
  #ways: Ways = { backends: [], drivers: [] };
  #mayPrune = false;
  #repairPending = false;
  #failure: unknown = new FlatnetError('not programmed yet', { code: 'NOT_READY' });

  constructor(options: PodNetworkOptions) {
    this.#options = options;
    this.#rtnetlink = new KernelEntries(options.kernel);
    this.#queue = new WorkQueue({
      name: 'podnet',
      // eslint-disable-next-line typescript/require-await -- the kernel answers at once; the queue wants promises
      process: async (key) => {
        this.#process(key);
      },
      maxBackoffMs: 5_000,
      logger: options.logger,
    });
    this.#filter = new EventFilter((key) => this.#desired.get(key)?.entry);
  }

  /** Why the node's own devices are not in place; undefined when they are. */
  get failure(): unknown {
    return this.#failure;
  }

  /** How many nodes are known, this one not counted. */
  get peerCount(): number {
    return this.#leases.size;
  }

  /** Nodes that are not reached by this backend, those that cannot be reached at all among them. */
  peersNotBy(backend: Backend): string[] {
    return [...this.#leases.keys()].filter((name) => this.#metBy.get(name) !== backend);
  }

  leaseOf(node: string): NodeLease | undefined {
    return this.#leases.get(node);
  }

  /** Every other node that is known. */
  leases(): IterableIterator<NodeLease> {
    return this.#leases.values();
  }

  /** By which backend a node is reached; undefined where it is not. */
  reachedBy(node: string): Backend | undefined {
    return this.#blocked.has(node) ? undefined : this.#metBy.get(node);
  }

  /** What should be in the kernel, as `formatEntry` prints it. */
  desiredEntries(): Entry[] {
    return inOrder([...this.#desired.values()].map(({ entry }) => entry));
  }

  /**
   * Sets the node's own facts and brings its devices up before it returns. Throws in the kernel's words; a peer that
   * cannot be programmed is no reason to, it is tried again.
   */
  setLocal(local: LocalNode, ways: Ways): void {
    this.#local = local;
    this.#ways = ways;
    this.#plan(
      OWN,
      ways.backends.flatMap((backend) => backend.planNode(local)),
    );
    if (this.#adopted === undefined) {
      this.#observe();
      this.#adopted = new Map(this.#actual);
    }
    for (const name of this.#leases.keys()) this.#planPeer(name);
    // Who keeps them out may be without entries himself by now.
    for (const name of this.#blocked) this.#queue.add(PEER_PREFIX + name);
    const failed = this.#repair();
    if (this.#failure !== undefined) throw this.#failure;
    if (failed !== undefined || (this.#mayPrune && this.#adopted !== NOTHING)) this.#queue.add(REPAIR);
  }

  setPeer(lease: NodeLease): void {
    this.#leases.set(lease.node, lease);
    this.#podCidrs.set(
      lease.node,
      [...lease.families.values()].map(({ podCidr }) => podCidr),
    );
    for (const node of this.#overlapping) this.#queue.add(PEER_PREFIX + node);
    this.#queue.add(PEER_PREFIX + lease.node);
  }

  removePeer(node: string): void {
    this.#metBy.delete(node);
    this.#podCidrs.delete(node);
    this.#overlapping.delete(node);
    for (const other of this.#overlapping) this.#queue.add(PEER_PREFIX + other);
    if (this.#leases.delete(node)) this.#queue.add(PEER_PREFIX + node);
  }

  /** All nodes are known: what none of them wants may go. */
  allowPrune(): void {
    this.#mayPrune = true;
    this.#queue.add(REPAIR);
  }

  /** Works until the signal is aborted, and leaves everything in the kernel. */
  async run(signal: AbortSignal): Promise<void> {
    this.#options.kernel.watch({
      groups: ['link', 'address', 'route', 'neighbour'],
      signal,
      onEvent: (event) => this.#onEvent(event),
    });
    this.#queue.addAfter(REPAIR, this.#verifyMs);
    await this.#queue.run(signal);
  }

  get #verifyMs(): number {
    const given = this.#options.verifyMs ?? 60_000;
    return Math.min(given, ...this.#ways.drivers.map(({ verifyMs = given }) => verifyMs));
  }

  #process(key: string): void {
    if (key === REPAIR) {
      this.#repairPending = false;
      this.#queue.addAfter(REPAIR, this.#verifyMs);
      // Asked for behind every node that was known by then.
      if (this.#mayPrune && this.#local !== undefined) this.#endStart();
      const failed = this.#repair();
      if (failed !== undefined) throw failed;
    } else this.#syncPeer(key.slice(PEER_PREFIX.length));
  }

  /** From now on who comes first is first. */
  #endStart(): void {
    if (this.#adopted === NOTHING) return;
    this.#adopted = NOTHING;
    for (const name of this.#blocked) this.#queue.add(PEER_PREFIX + name);
  }

  #syncPeer(name: string): void {
    if (this.#local === undefined) return;
    const changes = this.#planPeer(name);
    const failed = this.#apply(changes);
    if (!isEmpty(changes)) this.#log(`node ${this.#titleOf(name)}`, changes);
    if (changes.remove.length > 0)
      for (const blocked of this.#blocked) this.#queue.add(PEER_PREFIX + blocked);
    this.#options.onReached?.();
    if (failed !== undefined) throw failed;
  }

  #planPeer(name: string): Diff<Entry> {
    const lease = this.#leases.get(name);
    const { entries, problems } = this.#planFor(lease);
    const overlaps = this.#overlapsOf(name);
    const isAhead = overlaps.some((overlap) => this.#isAhead(name, overlap));
    const changes = this.#plan(name, isAhead ? [] : entries);
    if (isAhead) this.#blocked.add(name);
    const evicted = overlaps.flatMap((overlap) => this.#evict(name, overlap));
    const claimed = this.#blocked.has(name) && !isAhead ? [this.#claimError(name, entries)] : [];
    const overlapped = overlaps.map((overlap) => this.#overlapError(name, overlap));
    this.#report(name, [...problems, ...claimed, ...overlapped]);
    return { ...changes, remove: [...changes.remove, ...evicted] };
  }

  #overlapsOf(name: string): Overlap[] {
    const overlaps = this.#podCidrs.overlapsOf(name);
    if (overlaps.length === 0) this.#overlapping.delete(name);
    else this.#overlapping.add(name);
    // To be reported with it.
    for (const { node } of overlaps) if (!this.#overlapping.has(node)) this.#queue.add(PEER_PREFIX + node);
    return overlaps;
  }

  /**
   * Whether the other node keeps this one out. Of two ranges that meet only one is in the kernel, or the longer prefix
   * would take the other node's traffic: the one that is there already. While the nodes of the start are being told,
   * that is the one that was there before the start, else the older node's: so all nodes come to the same answer.
   */
  #isAhead(name: string, { node, own, theirs }: Overlap): boolean {
    const isHeld = this.#holds(node, theirs);
    if (this.#adopted === NOTHING) return isHeld;
    const had = (cidr: Cidr): boolean => this.#adopted?.has(routeKey(cidr)) === true;
    if (had(own) !== had(theirs)) return had(theirs);
    const [here, there] = [this.#leases.get(name)?.since, this.#leases.get(node)?.since];
    return here === undefined || there === undefined || here === there ? isHeld : there < here;
  }

  /** Takes the other node's entries, where this one has its own in spite of them; returns what has to go. */
  #evict(name: string, { node, own, theirs }: Overlap): readonly Entry[] {
    if (!this.#holds(name, own) || !this.#holds(node, theirs)) return [];
    const { remove } = this.#plan(node, []);
    this.#blocked.add(node);
    this.#queue.add(PEER_PREFIX + node);
    return remove;
  }

  #holds(node: string, cidr: Cidr): boolean {
    return this.#desired.get(routeKey(cidr))?.owner === node;
  }

  #overlapError(name: string, { node, own, theirs }: Overlap): FlatnetError {
    const isOut = !this.#holds(name, own) && this.#holds(node, theirs);
    const isIn = this.#holds(name, own);
    const [here, there] = [this.#titleOf(name), this.#titleOf(node)];
    const what = `node ${here}: pod CIDR ${own.toString()} overlaps ${theirs.toString()} of node ${there}`;
    const so = isOut ? ', which had it first: its pods are not reached' : isIn ? ', which is left out' : '';
    return new FlatnetError(what + so, {
      code: 'POD_CIDR_OVERLAP',
      hint: 'one of the two nodes has to be given another pod CIDR: in Kubernetes, delete its Node object and let it register anew',
    });
  }

  /** As people call it, for words. */
  #titleOf(node: string): string {
    return this.#leases.get(node)?.alias ?? node;
  }

  #planFor(told: NodeLease | undefined): PeerPlan {
    const local = this.#local;
    if (told === undefined || local === undefined) return { entries: [], problems: [] };
    const lease = { ...told, node: this.#titleOf(told.node) };
    this.#metBy.delete(told.node);
    const plans = meetings(this.#ways, lease).map((meeting) => ({
      backend: meeting.backend,
      plan: planPeer(meeting.backend, local, lease, meeting.offer),
    }));
    const chosen = plans.find(({ plan }) => plan.problems.length === 0) ?? plans[0];
    if (chosen === undefined) return { entries: [], problems: [noMeeting(this.#ways.backends, lease)] };
    this.#metBy.set(told.node, chosen.backend);
    // The peer may send by another way at any moment: all but the route is there before.
    const prepared = plans
      .filter((other) => other !== chosen)
      .flatMap(({ plan }) => plan.entries.filter(({ kind }) => kind !== 'route'));
    return { entries: [...chosen.plan.entries, ...prepared], problems: chosen.plan.problems };
  }

  /** Makes `entries` what the owner wants; returns how the kernel has to follow. */
  #plan(owner: string, entries: readonly Entry[]): Diff<Entry> {
    const before = this.#byOwner.get(owner) ?? [];
    // Half of a peer would be worse than none: packets would leave for a tunnel's end that is not the route's.
    const contested = entries.filter((entry) => this.#ownerOf(entry, owner) !== owner);
    const claimed = contested.length > 0 && !this.#takeBack(contested);
    const granted = claimed ? [] : entries;
    if (claimed) this.#blocked.add(owner);
    else this.#blocked.delete(owner);
    for (const entry of before) this.#desired.delete(entryKey(entry));
    for (const entry of granted) this.#desired.set(entryKey(entry), { entry, owner });
    if (granted.length === 0) this.#byOwner.delete(owner);
    else this.#byOwner.set(owner, granted);
    const actual = new Map<string, Entry>();
    for (const entry of [...before, ...granted]) {
      const found = this.#actual.get(entryKey(entry));
      if (found !== undefined) actual.set(entryKey(entry), found);
    }
    return diff(granted, actual.values(), entryKey, sameEntry);
  }

  /** Whether the entries are as they were in the kernel at the start; who has claimed them since has to give way. */
  #takeBack(contested: readonly Entry[]): boolean {
    const wereSo = contested.every((entry) => {
      const found = this.#adopted?.get(entryKey(entry));
      return found !== undefined && sameEntry(found, entry);
    });
    const holders = contested.flatMap((entry) => this.#desired.get(entryKey(entry)) ?? []);
    const areSo = holders.every(({ entry }) => contested.some((other) => sameEntry(entry, other)));
    if (!wereSo || areSo || holders.some(({ owner }) => owner === OWN)) return false;
    const keys = new Set(contested.map(entryKey));
    for (const { owner } of holders) {
      const left = (this.#byOwner.get(owner) ?? []).filter((entry) => !keys.has(entryKey(entry)));
      this.#byOwner.set(owner, left);
      this.#queue.add(PEER_PREFIX + owner);
    }
    return true;
  }

  #ownerOf(entry: Entry, otherwise: string): string {
    return this.#desired.get(entryKey(entry))?.owner ?? otherwise;
  }

  #claimError(name: string, entries: readonly Entry[]): FlatnetError {
    const entry = entries.find((each) => this.#ownerOf(each, name) !== name);
    const what = entry === undefined ? 'an entry' : entryKey(entry);
    const owner = entry === undefined ? '' : this.#ownerOf(entry, name);
    const [here, there] = [this.#titleOf(name), this.#titleOf(owner)];
    return new FlatnetError(`node ${here}: ${what} is claimed by node ${there} already`, {
      code: 'CLAIMED_TWICE',
      hint: 'two nodes have the same pod CIDR or VTEP MAC: one of them has to change',
    });
  }

  /** Reads everything back, compares, puts right; prunes where that is allowed. Returns the first failure. */
  #repair(): unknown {
    if (this.#local === undefined) return undefined;
    this.#observe();
    // Devices first: making one anew takes with it what was on the old one.
    const links = this.desiredEntries().filter(({ kind }) => kind === 'link');
    const wrong = links.filter((link) => !this.#isActual(link));
    let failed = this.#apply({ add: wrong, change: [], remove: [] });
    if (wrong.length > 0) this.#observe();
    const wanted = inOrder([...this.desiredEntries(), ...this.#untold()]);
    const changes = diff(wanted, this.#actual.values(), entryKey, sameEntry);
    const allowed = this.#mayPrune ? changes : { ...changes, remove: [] };
    failed = this.#apply(allowed) ?? failed;
    if (wrong.length > 0 || !isEmpty(allowed))
      this.#log('kernel', { ...allowed, add: [...wrong, ...allowed.add] });
    this.#failure = this.#ownFailure(failed);
    return failed;
  }

  /** Of nodes that the store has not told yet, as the run before left it: a store that is away must cost nothing. */
  #untold(): Entry[] {
    if (this.#mayPrune || this.#adopted === undefined) return [];
    const untold = [...this.#adopted].filter(([key, { kind }]) => kind !== 'link' && !this.#desired.has(key));
    return untold.map(([, entry]) => entry);
  }

  /** A peer that cannot be programmed is its own matter; the node serves when its own entries are there. */
  #ownFailure(failed: unknown): unknown {
    const own = this.#byOwner.get(OWN) ?? [];
    return own.every((entry) => this.#isActual(entry)) ? undefined : failed;
  }

  #isActual(entry: Entry): boolean {
    const found = this.#actual.get(entryKey(entry));
    return found !== undefined && sameEntry(found, entry);
  }

  #observe(): void {
    const devices = this.desiredEntries().flatMap((entry) => (entry.kind === 'link' ? [entry.device] : []));
    this.#actual.clear();
    for (const driver of this.#drivers) {
      for (const entry of driver.observe(new Set(devices))) this.#actual.set(entryKey(entry), entry);
    }
    const links = this.#options.kernel.links();
    const meaning = this.#filter.learnDevices(links, devices, this.#local?.underlay.device);
    if (meaning === 'underlay') this.#options.onUnderlayChange();
  }

  /** Applies what it can; returns the first failure. Adds before it deletes. */
  #apply(changes: Diff<Entry>): unknown {
    let failed: unknown;
    const attempt = (doing: string, entry: Entry, action: () => void): void => {
      try {
        action();
      } catch (error) {
        failed ??= error;
        this.#options.logger.warn(
          { entry: formatEntry(entry), error: describeError(error) },
          `cannot ${doing}`,
        );
      }
    };
    for (const entry of inOrder([...changes.add, ...changes.change.map(({ to }) => to)])) {
      attempt('program', entry, () => {
        this.#driverOf(entry).put(entry);
        this.#actual.set(entryKey(entry), entry);
      });
    }
    for (const entry of inOrder(changes.remove).reverse()) {
      attempt('remove', entry, () => {
        this.#driverOf(entry).remove(entry);
        this.#actual.delete(entryKey(entry));
      });
    }
    return failed;
  }

  get #drivers(): EntryDriver[] {
    return [this.#rtnetlink, ...this.#ways.drivers];
  }

  #driverOf(entry: Entry): EntryDriver {
    const driver = this.#drivers.find((each) => each.handles(entry));
    if (driver !== undefined) return driver;
    throw new FlatnetError(`no driver for ${formatEntry(entry)}`, { code: 'NO_DRIVER' });
  }

  #onEvent(event: RouteEvent): void {
    const meaning = this.#filter.judge(event);
    if (meaning === 'underlay') this.#options.onUnderlayChange();
    if (meaning === 'none' || this.#repairPending) return;
    this.#repairPending = true;
    this.#queue.addAfter(REPAIR, REPAIR_DELAY_MS);
  }

  #report(node: string, problems: readonly FlatnetError[]): void {
    if (problems.length === 0 && !this.#troubled.has(node)) return;
    if (problems.length === 0) this.#troubled.delete(node);
    else this.#troubled.add(node);
    this.#options.onProblems(node, problems);
  }

  #log(subject: string, changes: Diff<Entry>): void {
    this.#options.logger.info(
      { subject, changes: formatDiff(changes, formatEntry).split('\n') },
      'pod network changed',
    );
  }
}

const routeKey = (destination: Cidr): string => `route ${destination.toString()}`;
