import type { EtcdClient } from '../../../etcd/etcd-client.ts';
import { KeyMirror } from '../../../etcd/key-mirror.ts';
import type { KeyList, KeyValue } from '../../../etcd/key-value.ts';
import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import type { Ip, IpFamily } from '../../../net/ip.ts';
import { WorkQueue } from '../../../reconcile/work-queue.ts';
import { Backoff, sleep } from '../../../timing/backoff.ts';
import type { NetworkConfig } from '../../network-config.ts';
import type { LeaseStore, LeaseStoreHandler, OwnNode, Publication } from '../lease-store.ts';
import { ConfigInForce } from './config-in-force.ts';
import type { SeenLease } from './lease-decision.ts';
import { OwnLease, type HeldLease, type StoreView } from './own-lease.ts';
import { LeaseReader } from './lease-reader.ts';
import { peerLease, type ReadSeenLease } from './peer-lease.ts';
import { LEASE_SECONDS } from './settings.ts';
import type { ReadNetworkConfig, StoredConfig } from './stored-config.ts';
import { formatLeaseValue, parseLeaseValue } from './lease-value.ts';
import { SubnetHolders } from './subnet-holders.ts';
import { subnetLost } from './subnet-lost.ts';
import { aboutKey, configKey, leasePrefix, ownPrefix, type Subnets } from './subnet-key.ts';

export interface EtcdLeaseStoreOptions {
  readonly client: EtcdClient;
  readonly nodeName: string;
  /** Without a slash at its end. */
  readonly prefix: string;
  readonly readConfig: ReadNetworkConfig;
  readonly renewMarginSeconds: number;
  /** The subnets that an earlier run wrote to subnet.env. */
  readonly previous?: Subnets | undefined;
  /** Addresses of this node's interfaces: tell which lease it had, before it is known what it publishes. */
  readonly ownAddresses?: readonly Ip[];
  /** The configuration that is in force until etcd has another one that is right: a net-conf.json, as it was written. */
  readonly networkText?: string | undefined;
  /** The configuration has changed (to another one that is right) while the store runs. */
  readonly onNetworkConfig?: (network: NetworkConfig) => void;
  readonly logger: Logger;
  /** A day, as flannel's. */
  readonly leaseSeconds?: number;
  readonly random?: () => number;
}

const LEASE = 'lease';
const RENEW = 'renew';
/** Two nodes with one public IP rewrite each other's lease: not faster than this. */
const CONTEST_MS = 10_000;

/**
 * flannel's keys in etcd as the pod network's database: the configuration, and a lease for each node's subnet. While
 * etcd is away the last known state stays; this node's lease is looked after as soon as it is back.
 */
export class EtcdLeaseStore implements LeaseStore {
  readonly #options: EtcdLeaseStoreOptions;
  readonly #current: ConfigInForce;
  readonly #own: OwnLease;
  readonly #mirror: KeyMirror;
  readonly #queue: WorkQueue;
  readonly #holders: SubnetHolders;
  readonly #reader: LeaseReader;
  /** Leases of other nodes that the handler has been told of. */
  readonly #told = new Set<string>();
  #handler: LeaseStoreHandler | undefined;
  #publication: Publication | undefined;
  #leaseFailure: unknown;
  /** The subnets that this node had last, in the run before, too. */
  #had: Subnets | undefined;
  #lost: FlatnetError | undefined;
  #synced = false;

  constructor(options: EtcdLeaseStoreOptions) {
    this.#options = options;
    this.#had = options.previous;
    const { client, prefix, logger } = options;
    this.#current = new ConfigInForce(options.readConfig, logger);
    this.#holders = new SubnetHolders(leasePrefix(prefix));
    this.#reader = new LeaseReader(leasePrefix(prefix));
    this.#own = new OwnLease({
      leaseSeconds: LEASE_SECONDS,
      random: Math.random,
      previous: undefined,
      ...options,
    });
    const handler = {
      put: (keyValue: KeyValue) => this.#onPut(keyValue),
      deleted: (old: KeyValue) => this.#onDeleted(old),
      listed: () => this.#onListed(),
      refuse: (list: KeyList) => this.#refuse(list),
    };
    if (options.networkText !== undefined) this.#current.adopt(configKey(prefix), options.networkText);
    this.#mirror = new KeyMirror(client, `${prefix}/`, handler, logger);
    this.#queue = new WorkQueue({
      name: 'subnet-lease',
      process: async (key, signal) => this.#process(key, signal),
      maxBackoffMs: 10_000,
      logger,
    });
  }

  get #config(): StoredConfig | undefined {
    return this.#current.config;
  }

  get hasSynced(): boolean {
    return this.#synced;
  }

  get failure(): unknown {
    return this.#mirror.failure ?? this.#leaseFailure ?? this.#current.problem;
  }

  /** By what the watch has brought: the answer to what this node has written may be earlier than the others hear of it. */
  get isPublished(): boolean {
    const { held } = this.#own;
    if (held === undefined || this.#publication === undefined) return false;
    return this.#mirror.get(held.key)?.value === formatLeaseValue(this.#publication);
  }

  /** The configuration in force; undefined while there is none. */
  get network(): NetworkConfig | undefined {
    return this.#config?.network;
  }

  /** As it was written. */
  get networkText(): string | undefined {
    return this.#config?.text;
  }

  /** Asks once; where etcd has none that is right, it is the one in force before. Throws EtcdError. */
  async networkConfigNow(): Promise<NetworkConfig | undefined> {
    const { client, prefix } = this.#options;
    const { found } = await client.get(configKey(prefix));
    if (found !== undefined) this.#current.take(found);
    return this.#config?.network;
  }

  /** Waits until the configuration is there and right, and says so. Throws only the signal's reason. */
  async networkConfig(signal: AbortSignal): Promise<NetworkConfig> {
    const { client, prefix, logger } = this.#options;
    const key = configKey(prefix);
    const backoff = new Backoff({ initialMs: 200, maxMs: 5000 });
    for (;;) {
      signal.throwIfAborted();
      try {
        const { found, revision } = await client.get(key);
        if (found !== undefined) this.#current.take(found);
        else {
          const example = `etcdctl put ${key} '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}'`;
          logger.warn(
            { key, endpoint: client.endpoint, example },
            'waiting for the network configuration in etcd',
          );
        }
        if (this.#config !== undefined) return this.#config.network;
        for await (const { events } of client.watch({ key, isPrefix: false }, revision + 1, signal)) {
          backoff.reset();
          if (events.length > 0) break;
        }
      } catch (error) {
        logger.warn(
          { key, error: describeError(error) },
          'cannot read the network configuration; trying again',
        );
        await sleep(backoff.next(), signal);
      }
    }
  }

  publish(publication: Publication): void {
    const before = this.#publication;
    if (before !== undefined && textOf(before) === textOf(publication)) return;
    this.#publication = publication;
    if (before === undefined || !sameIps(before, publication)) this.#tellPeers();
    this.#queue.add(LEASE);
  }

  /** etcd has no such state: whoever has a lease is available. */
  markAvailable(): void {
    // Nothing to be told.
  }

  async run(handler: LeaseStoreHandler, signal: AbortSignal): Promise<void> {
    this.#handler = handler;
    await Promise.all([this.#mirror.run(signal), this.#queue.run(signal)]);
  }

  /** An etcd that has lost everything, configuration included, must not take the network down. */
  #refuse(list: KeyList): void {
    const key = configKey(this.#options.prefix);
    if (this.#config === undefined || list.keys.some((found) => found.key === key)) return;
    throw new FlatnetError(`etcd ${key} is gone`, {
      code: 'ETCD_CONFIG_GONE',
      hint: 'is this another etcd, or has it been emptied? What is known of the nodes stays until the key is back',
      retryable: true,
    });
  }

  #onListed(): void {
    this.#queue.add(LEASE);
    if (this.#synced) return;
    this.#synced = true;
    this.#tellSelf();
    this.#tellPeers();
    this.#handler?.synced();
  }

  #onPut(stored: KeyValue): void {
    if (stored.key === configKey(this.#options.prefix)) {
      const before = this.#config;
      this.#current.take(stored);
      if (this.#config === undefined || this.#config === before) return;
      if (before !== undefined) this.#options.onNetworkConfig?.(this.#config.network);
      this.#tellPeers();
      this.#queue.add(LEASE);
    } else if (this.#isLease(stored.key)) this.#onLeasePut(stored);
    else this.#onAbout(stored.key);
  }

  #onLeasePut(stored: KeyValue): void {
    this.#holders.add(stored.key);
    if (this.#isHeld(stored.key)) this.#onHeldPut(stored);
    else this.#tellPeer(stored);
    this.#onDoubles(this.#othersOf(stored.key));
  }

  /** Leases that name a subnet of this one. */
  #othersOf(key: string): readonly string[] {
    return [...this.#holders.othersOf(key).values()].flat();
  }

  /** Who was first has the subnet, and may have been told last. */
  #onDoubles(others: readonly string[]): void {
    for (const other of others) {
      if (this.#isHeld(other)) this.#queue.add(LEASE);
      const stored = this.#mirror.get(other);
      if (stored !== undefined) this.#tellPeer(stored);
    }
  }

  #onAbout(key: string): void {
    const { prefix } = this.#options;
    const name = key.slice(key.lastIndexOf('/') + 1);
    if (key !== aboutKey(prefix, name)) return;
    const lease = this.#mirror.get(leasePrefix(prefix) + name);
    if (lease !== undefined) this.#tellPeer(lease);
  }

  #onDeleted({ key }: KeyValue): void {
    const { prefix, logger } = this.#options;
    if (this.#isLease(key)) this.#onLeaseDeleted(key);
    else if (key === configKey(prefix))
      logger.warn({ key }, 'the network configuration is gone from etcd; the last one stays in force');
  }

  #onLeaseDeleted(key: string): void {
    const others = this.#othersOf(key);
    this.#holders.delete(key);
    this.#reader.forget(key);
    if (this.#isHeld(key)) {
      this.#options.logger.warn({ lease: key }, 'the subnet lease of this node is gone from etcd');
      this.#queue.add(LEASE);
    } else this.#untellPeer(key);
    this.#onDoubles(others);
  }

  /** The event of what this node wrote itself, too. */
  #onHeldPut(stored: KeyValue): void {
    const held = this.#own.held;
    const wanted = this.#publication === undefined ? undefined : formatLeaseValue(this.#publication);
    if (held === undefined) return;
    // The event may be faster than the answer to the transaction that wrote it.
    if (stored.value === wanted) this.#tellSelf();
    if (stored.value === held.value || stored.value === wanted) {
      // Made a reservation, or a lease again.
      if (stored.leaseId !== held.leaseId) this.#queue.add(LEASE);
      return;
    }
    this.#options.logger.warn(
      { lease: stored.key, written: stored.value.slice(0, 500), own: held.value },
      'somebody else has rewritten the subnet lease of this node; has another node its public IP?',
    );
    this.#queue.addAfter(LEASE, CONTEST_MS);
  }

  async #process(key: string, signal: AbortSignal): Promise<void> {
    if (this.#publication === undefined || !this.#synced) return;
    try {
      if (key === RENEW && (await this.#own.renew())) this.#schedule();
      else await this.#acquire(this.#publication, signal);
      this.#leaseFailure = undefined;
    } catch (error) {
      this.#leaseFailure = error;
      throw error;
    }
  }

  async #acquire(publication: Publication, signal: AbortSignal): Promise<void> {
    const { client, prefix } = this.#options;
    const before = this.#own.held;
    let leases: readonly SeenLease[] = [];
    let isFull = false;
    const view = async (): Promise<StoreView> => {
      const seen = this.#view(await client.list(`${prefix}/`));
      leases = seen.leases;
      return seen;
    };
    try {
      await this.#own.acquire(publication, view, signal);
      this.#schedule();
    } catch (error) {
      isFull = error instanceof FlatnetError && error.code === 'SUBNETS_EXHAUSTED';
      throw error;
    } finally {
      this.#onAcquired(before, leases, isFull);
    }
  }

  #onAcquired(before: HeldLease | undefined, leases: readonly SeenLease[], isFull: boolean): void {
    const { held } = this.#own;
    // One that was told before it was known that this is the node's lease.
    const isNew = held !== undefined && held.key !== before?.key;
    if (isNew && this.#othersOf(held.key).length > 0) this.#queue.add(LEASE);
    // Where nothing is free, what the run before had is another node's by now.
    const isSure = held !== undefined || before !== undefined || isFull;
    const lost = isSure ? subnetLost(this.#had, held?.subnets ?? new Map(), leases) : undefined;
    const isNews = lost !== undefined && lost.message !== this.#lost?.message;
    if (isNews) this.#options.logger.error({ code: lost.code, hint: lost.hint }, lost.message);
    // What has come free again is not lost.
    if (lost !== undefined || (held !== undefined && before === undefined)) this.#lost = lost;
    if (held !== undefined) this.#had = held.subnets;
    if (held?.key !== before?.key) this.#tellPeers();
    if (held?.key !== before?.key || held?.value !== before?.value || isNews) this.#tellSelf();
  }

  #schedule(): void {
    const after = this.#own.held?.renewAfterMs;
    // Timers take 31 bits of milliseconds.
    if (after !== undefined) this.#queue.addAfter(RENEW, Math.min(after, 0x7fff_ffff));
  }

  /** Throws when there is no configuration that nodes could agree on. */
  #view(list: KeyList): StoreView {
    const { prefix } = this.#options;
    const key = configKey(prefix);
    const stored = list.keys.find((found) => found.key === key);
    this.#refuse(list);
    if (stored !== undefined) this.#current.take(stored);
    const config = this.#config;
    if (config === undefined || stored === undefined) {
      throw (
        this.#current.problem ??
        new FlatnetError(`etcd ${key} is missing`, { code: 'ETCD_CONFIG_GONE', retryable: true })
      );
    }
    const isOwn = (found: KeyValue): boolean => found.key.startsWith(ownPrefix(prefix));
    const own = new Map(list.keys.filter(isOwn).map((found) => [found.key, found]));
    const leases = list.keys.flatMap((found) => this.#read(found, own)?.lease ?? []);
    return {
      config: { key, modRevision: stored.modRevision },
      own,
      ranges: config.ranges,
      leases,
    };
  }

  #tellSelf(): void {
    const self: OwnNode = {
      name: this.#options.nodeName,
      podCidrs: this.#own.held?.subnets ?? new Map(),
      internalIps: [],
      published: this.#published(),
      publicIpOverwrites: new Map(),
      problems: this.#lost === undefined ? [] : [this.#lost],
    };
    this.#handler?.self(self);
  }

  /** What etcd holds of this node; before it is known which lease that is: of the one with an address of this node. */
  #published(): OwnNode['published'] {
    const { ownAddresses = [] } = this.#options;
    const { held } = this.#own;
    const isOwn = ({ value }: SeenLease): boolean =>
      [...(value?.publicIps.values() ?? [])].some((ip) => ownAddresses.some((own) => own.equals(ip)));
    if (held === undefined) return this.#leases().find(isOwn)?.value?.offers[0];
    return parseLeaseValue(held.key, held.value, unnamedType(this.#config)).offers[0];
  }

  #leases(): SeenLease[] {
    return [...this.#mirror.values()].flatMap((stored) => this.#read(stored)?.lease ?? []);
  }

  /** Undefined for what is no lease. */
  #read(stored: KeyValue, keys: Pick<KeyMirror, 'get'> = this.#mirror): ReadSeenLease | undefined {
    const { prefix } = this.#options;
    if (!this.#isLease(stored.key) || this.#config === undefined) return undefined;
    const about = keys.get(aboutKey(prefix, this.#nameOf(stored.key)))?.value;
    return this.#reader.read(stored, about, unnamedType(this.#config));
  }

  /** All of them: what is to be thought of them has changed. */
  #tellPeers(): void {
    if (!this.#synced) return;
    for (const stored of this.#mirror.values()) {
      if (this.#isLease(stored.key)) this.#tellPeer(stored);
    }
  }

  #tellPeer(stored: KeyValue): void {
    if (!this.#synced) return;
    const read = this.#read(stored);
    if (read === undefined || this.#config === undefined) return;
    const { lease } = read;
    if (this.#isHeld(stored.key) || (lease !== undefined && this.#hasOwnIp(lease))) {
      this.#untellPeer(stored.key);
      return;
    }
    const node = this.#nameOf(stored.key);
    const about = this.#mirror.get(aboutKey(this.#options.prefix, node))?.value;
    const { networks } = this.#config.network;
    const told = { about, networks, heldBefore: this.#heldBefore(stored) };
    const peer = lease === undefined ? undefined : peerLease(node, lease, told);
    this.#told.add(stored.key);
    this.#handler?.peer(node, peer?.lease, [...read.problems, ...(peer?.problems ?? [])]);
  }

  /** The subnets that an older lease names, too, by their family. */
  #heldBefore({ key, createRevision }: KeyValue): Map<IpFamily, SeenLease> {
    const found = new Map<IpFamily, SeenLease>();
    for (const [family, others] of this.#holders.othersOf(key)) {
      const older = others
        .flatMap((other) => this.#mirror.get(other) ?? [])
        .find((other) => other.createRevision < createRevision);
      const lease = older === undefined ? undefined : this.#read(older)?.lease;
      if (lease !== undefined) found.set(family, lease);
    }
    return found;
  }

  #untellPeer(key: string): void {
    if (!this.#told.delete(key)) return;
    this.#handler?.peer(this.#nameOf(key), undefined, []);
  }

  /** Left over from this node; one with its address that names another node is told, as an error in the end. */
  #hasOwnIp({ value, owner }: SeenLease): boolean {
    const own = this.#publication?.publicIps;
    if (own === undefined || value === undefined) return false;
    if (owner !== undefined && owner !== this.#options.nodeName) return false;
    return [...own].some(([family, ip]) => value.publicIps.get(family)?.equals(ip) === true);
  }

  /** How the others are called here: flannel's leases do not tell the names of nodes. */
  #nameOf(key: string): string {
    return key.slice(leasePrefix(this.#options.prefix).length);
  }

  #isHeld(key: string): boolean {
    return this.#own.held?.key === key;
  }

  #isLease(key: string): boolean {
    return key.startsWith(leasePrefix(this.#options.prefix));
  }
}

const unnamedType = (config: StoredConfig | undefined): 'udp' | 'alloc' =>
  config?.network.backend.type === 'alloc' ? 'alloc' : 'udp';

const textOf = (publication: Publication): string =>
  formatLeaseValue(publication) + JSON.stringify(publication.about);

const ipsOf = ({ publicIps }: Publication): string => [...publicIps].map(String).toSorted().join();

const sameIps = (a: Publication, b: Publication): boolean => ipsOf(a) === ipsOf(b);
