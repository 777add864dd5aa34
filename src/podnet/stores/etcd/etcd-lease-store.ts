import type { EtcdClient } from '../../../etcd/etcd-client.ts';
import { KeyMirror } from '../../../etcd/key-mirror.ts';
import type { KeyList, KeyValue } from '../../../etcd/key-value.ts';
import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import type { Ip } from '../../../net/ip.ts';
import { WorkQueue } from '../../../reconcile/work-queue.ts';
import { Backoff, sleep } from '../../../timing/backoff.ts';
import type { NetworkConfig } from '../../network-config.ts';
import type { LeaseStore, LeaseStoreHandler, OwnNode, Publication } from '../lease-store.ts';
import type { SeenLease } from './lease-decision.ts';
import { OwnLease, type StoreView } from './own-lease.ts';
import { peerLease, readSeenLease } from './peer-lease.ts';
import { LEASE_SECONDS } from './settings.ts';
import { readStoredConfig, type ReadNetworkConfig, type StoredConfig } from './stored-config.ts';
import { formatLeaseValue, parseLeaseValue } from './lease-value.ts';
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
  readonly #own: OwnLease;
  readonly #mirror: KeyMirror;
  readonly #queue: WorkQueue;
  /** Leases of other nodes that the handler has been told of. */
  readonly #told = new Set<string>();
  #handler: LeaseStoreHandler | undefined;
  #config: StoredConfig | undefined;
  #configProblem: FlatnetError | undefined;
  #publication: Publication | undefined;
  #leaseFailure: unknown;
  #lost: FlatnetError | undefined;
  #synced = false;

  constructor(options: EtcdLeaseStoreOptions) {
    this.#options = options;
    const { client, prefix, logger } = options;
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
    if (options.networkText !== undefined) this.#adoptConfig(options.networkText);
    this.#mirror = new KeyMirror(client, `${prefix}/`, handler, logger);
    this.#queue = new WorkQueue({
      name: 'subnet-lease',
      process: async (key, signal) => this.#process(key, signal),
      maxBackoffMs: 10_000,
      logger,
    });
  }

  get hasSynced(): boolean {
    return this.#synced;
  }

  get failure(): unknown {
    return this.#mirror.failure ?? this.#leaseFailure ?? this.#configProblem;
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
    if (found !== undefined) this.#takeConfig(found);
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
        if (found !== undefined) this.#takeConfig(found);
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
      this.#takeConfig(stored);
      if (this.#config === undefined || this.#config === before) return;
      if (before !== undefined) this.#options.onNetworkConfig?.(this.#config.network);
      this.#tellPeers();
      this.#queue.add(LEASE);
    } else if (this.#isHeld(stored.key)) this.#onHeldPut(stored);
    else if (this.#isLease(stored.key)) this.#tellPeer(stored);
    else this.#onAbout(stored.key);
  }

  #onAbout(key: string): void {
    const { prefix } = this.#options;
    const name = key.slice(key.lastIndexOf('/') + 1);
    if (key !== aboutKey(prefix, name)) return;
    const lease = this.#mirror.get(leasePrefix(prefix) + name);
    if (lease !== undefined) this.#tellPeer(lease);
  }

  #onDeleted(old: KeyValue): void {
    const { prefix, logger } = this.#options;
    if (old.key === configKey(prefix)) {
      logger.warn(
        { key: old.key },
        'the network configuration is gone from etcd; the last one stays in force',
      );
    } else if (this.#isHeld(old.key)) {
      logger.warn({ lease: old.key }, 'the subnet lease of this node is gone from etcd');
      this.#queue.add(LEASE);
    } else if (this.#isLease(old.key)) this.#untellPeer(old.key);
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
    const { client, prefix, previous } = this.#options;
    const before = this.#own.held;
    let leases: readonly SeenLease[] = [];
    const view = async (): Promise<StoreView> => {
      const seen = this.#view(await client.list(`${prefix}/`));
      leases = seen.leases;
      return seen;
    };
    try {
      await this.#own.acquire(publication, view, signal);
      this.#schedule();
    } finally {
      const { held } = this.#own;
      if (held !== undefined || before !== undefined)
        this.#noteLoss(subnetLost(before?.subnets ?? previous, held?.subnets ?? new Map(), leases));
      if (held?.key !== before?.key) this.#tellPeers();
      if (held?.key !== before?.key || held?.value !== before?.value) this.#tellSelf();
    }
  }

  #noteLoss(lost: FlatnetError | undefined): void {
    if (lost === undefined) return;
    this.#lost = lost;
    this.#options.logger.error({ code: lost.code, hint: lost.hint }, lost.message);
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
    if (stored !== undefined) this.#takeConfig(stored);
    const config = this.#config;
    if (config === undefined || stored === undefined) {
      throw (
        this.#configProblem ??
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

  /** Of an earlier run, which took it: what cannot be read is waited for as if it had not been there. */
  #adoptConfig(text: string): void {
    const { prefix, readConfig, logger } = this.#options;
    try {
      this.#config = readStoredConfig(configKey(prefix), text, readConfig);
    } catch (error) {
      logger.warn(
        { error: describeError(error) },
        'the network configuration of the run before is not taken',
      );
    }
  }

  /** A configuration that is wrong is told, and the last one stays. */
  #takeConfig(stored: KeyValue): void {
    if (stored.value === this.#config?.text) {
      this.#configProblem = undefined;
      return;
    }
    const { readConfig, logger } = this.#options;
    try {
      this.#config = readStoredConfig(stored.key, stored.value, readConfig);
      this.#configProblem = undefined;
      for (const warning of this.#config.warnings) logger.warn(warning);
      logger.info(
        { key: stored.key, config: stored.value.slice(0, 2000) },
        'network configuration read from etcd',
      );
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      if (this.#configProblem?.message !== error.message) {
        const outcome =
          this.#config === undefined ? 'waiting for another one' : 'the last one stays in force';
        logger.error({ error: describeError(error) }, `wrong network configuration in etcd; ${outcome}`);
      }
      this.#configProblem = error;
    }
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
  #read(
    stored: KeyValue,
    keys: Pick<KeyMirror, 'get'> = this.#mirror,
  ): ReturnType<typeof readSeenLease> | undefined {
    const { prefix } = this.#options;
    if (!this.#isLease(stored.key) || this.#config === undefined) return undefined;
    const about = keys.get(aboutKey(prefix, this.#nameOf(stored.key)))?.value;
    return readSeenLease(leasePrefix(prefix), stored, about, unnamedType(this.#config));
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
    const peer = lease === undefined ? undefined : peerLease(node, lease, about, networks);
    this.#told.add(stored.key);
    this.#handler?.peer(node, peer?.lease, [...read.problems, ...(peer?.problems ?? [])]);
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
