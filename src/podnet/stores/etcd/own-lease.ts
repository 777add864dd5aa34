import type { EtcdClient } from '../../../etcd/etcd-client.ts';
import { isEtcdError } from '../../../etcd/etcd-error.ts';
import type { KeyValue } from '../../../etcd/key-value.ts';
import type { Condition, Operation } from '../../../etcd/transaction.ts';
import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import { Backoff, sleep } from '../../../timing/backoff.ts';
import type { Publication } from '../lease-store.ts';
import { decide, isReservation, type Decision, type SeenLease } from './lease-decision.ts';
import { formatLeaseValue } from './lease-value.ts';
import type { SubnetRanges } from './subnet-choice.ts';
import { claimOf } from './subnet-claim.ts';
import { aboutKey, leasePrefix, subnetName, type Subnets } from './subnet-key.ts';

export interface OwnLeaseOptions {
  readonly client: EtcdClient;
  readonly nodeName: string;
  readonly prefix: string;
  readonly logger: Logger;
  readonly leaseSeconds: number;
  readonly renewMarginSeconds: number;
  readonly previous: Subnets | undefined;
  readonly random: () => number;
}

/** What etcd holds, at one revision. */
export interface StoreView {
  /** The configuration that `ranges` are of; nothing is claimed once it has changed. */
  readonly config: { readonly key: string; readonly modRevision: number };
  readonly ranges: SubnetRanges;
  readonly leases: readonly SeenLease[];
  /** Keys of Flatnet's own. */
  readonly own: ReadonlyMap<string, KeyValue>;
}

export interface HeldLease {
  readonly subnets: Subnets;
  readonly key: string;
  /** As this node wrote or found it. */
  readonly value: string;
  /** `0`: a reservation, which does not end. */
  readonly leaseId: string;
  /** When it has to be renewed, milliseconds from now as it was acquired; undefined for a reservation. */
  readonly renewAfterMs: number | undefined;
}

/** A flanneld that has looked before this node's claim has made its own by then. */
const FRESH_MS = 10_000;

/** flannel tries ten times; more when many nodes start at once. */
const RACES = 20;

/**
 * This node's lease: found again, claimed, renewed. All writes are transactions on what was seen, so that no two nodes
 * hold one subnet: a subnet is claimed only if still nobody has it and the configuration is the same, and a lease is
 * rewritten only if it is still the one that was read.
 */
export class OwnLease {
  readonly #options: OwnLeaseOptions;
  #held: HeldLease | undefined;
  /** What was held last, also when somebody else has it now: what is wished for. */
  #last: HeldLease | undefined;
  /** When the last claim was made, by performance.now(). */
  #claimedAt = -Infinity;

  constructor(options: OwnLeaseOptions) {
    this.#options = options;
  }

  /** Undefined before the first claim, and after the subnet has been found in the hands of another node. */
  get held(): HeldLease | undefined {
    return this.#held;
  }

  /** Gives the lease its full time again. False when etcd no longer has it: it has to be acquired again. */
  async renew(): Promise<boolean> {
    const held = this.#held;
    if (held === undefined || held.leaseId === '0') return held !== undefined;
    try {
      this.#hold({
        ...held,
        renewAfterMs: this.#renewAfter(await this.#options.client.renewLease(held.leaseId)),
      });
      this.#options.logger.info({ lease: held.key }, 'subnet lease renewed');
      return true;
    } catch (error) {
      if (isEtcdError(error, 'ETCD_LEASE_NOT_FOUND')) return false;
      throw error;
    }
  }

  /**
   * Looks at what etcd holds and makes this node's lease what it should be. Throws SUBNETS_EXHAUSTED when no subnet is
   * free, SUBNET_CONTENDED (retryable) when others were always faster.
   */
  async acquire(
    publication: Publication,
    view: () => Promise<StoreView>,
    signal: AbortSignal,
  ): Promise<HeldLease> {
    const { nodeName, previous, random } = this.#options;
    const backoff = new Backoff({ initialMs: 10, maxMs: 500 });
    for (let race = 0; race < RACES && !signal.aborted; race += 1) {
      const seen = await view();
      const isFresh = performance.now() - this.#claimedAt < FRESH_MS;
      const known = { held: this.#last, isFresh, previous, random };
      const decision = decide({ ...seen, nodeName, publication, ...known });
      if (decision.type !== 'hold') this.#letGoOfTaken(seen.leases, decision);
      const next = await this.#carryOut(decision, publication, seen);
      if (next !== undefined) return this.#hold(next);
      await sleep(backoff.next(), signal);
    }
    throw new FlatnetError('no subnet could be claimed: other nodes were always faster', {
      code: 'SUBNET_CONTENDED',
      retryable: true,
    });
  }

  /** Undefined when something has changed in between. */
  async #carryOut(
    decision: Decision,
    publication: Publication,
    seen: StoreView,
  ): Promise<HeldLease | undefined> {
    switch (decision.type) {
      case 'hold':
        return this.#rewrite(decision.lease, publication, seen);
      case 'claim':
        return this.#claim(decision, publication, seen);
      default:
        throw exhausted(seen);
    }
  }

  /** Nothing is written when the value is right already: a restart of all nodes is no event for the others. */
  async #rewrite(
    lease: SeenLease,
    publication: Publication,
    seen: StoreView,
  ): Promise<HeldLease | undefined> {
    const { key, modRevision } = lease.stored;
    const value = formatLeaseValue(publication);
    const time = isReservation(lease) ? NO_END : await this.#liveTime(lease.stored.leaseId);
    const about = this.#about(subnetName(lease.subnets), publication, time.leaseId);
    const knowsAbout = about.every((put) => seen.own.get(put.key)?.value === put.value);
    if (time.leaseId !== lease.stored.leaseId || value !== lease.stored.value || !knowsAbout) {
      const put: Put = { type: 'put', key, value, leaseId: time.leaseId };
      const conditions: Condition[] = [unchanged(seen.config), { type: 'unchanged', key, modRevision }];
      const operations = [...about, put];
      const { succeeded } = await this.#options.client.commit(`rewriting ${key}`, conditions, operations);
      if (!succeeded) return undefined;
      this.#options.logger.info({ lease: key, value }, 'subnet lease written anew');
    }
    if (this.#held?.key !== key) {
      const kind = isReservation(lease) ? 'reservation' : 'lease';
      this.#options.logger.info({ [kind]: key }, `subnet ${kind} of this node found`);
    }
    return { subnets: lease.subnets, key, value, ...time };
  }

  async #claim(
    { subnets, givesUp }: Extract<Decision, { type: 'claim' }>,
    publication: Publication,
    seen: StoreView,
  ): Promise<HeldLease | undefined> {
    const { client, prefix, leaseSeconds, logger } = this.#options;
    const key = leasePrefix(prefix) + subnetName(subnets);
    const value = formatLeaseValue(publication);
    const { leaseId, ttlSeconds } = await client.grantLease(leaseSeconds);
    const conditions: Condition[] = [
      unchanged(seen.config),
      ...givesUp.map(({ stored }) => unchanged(stored)),
    ];
    const operations: Operation[] = givesUp
      .filter(({ stored }) => stored.key !== key)
      .map(({ stored }) => ({ type: 'delete', key: stored.key }));
    operations.push(...this.#about(subnetName(subnets), publication, leaseId));
    operations.push({ type: 'put', key, value, leaseId });
    const claim = claimOf(prefix, subnets, givesUp);
    conditions.push(...claim.conditions);
    if (claim.guard !== undefined) {
      conditions.push(
        unchanged({ key: claim.guard, modRevision: seen.own.get(claim.guard)?.modRevision ?? 0 }),
      );
      operations.push({ type: 'put', key: claim.guard, value: key, leaseId });
    }
    const { succeeded } = await client.commit(`claiming ${key}`, conditions, operations);
    if (!succeeded) {
      await client
        .revokeLease(leaseId)
        .catch((error: unknown) => logger.debug({ error: describeError(error) }, 'left to expire'));
      return undefined;
    }
    this.#claimedAt = performance.now();
    logger.info({ lease: key, gaveUp: givesUp.map(({ stored }) => stored.key) }, 'subnet lease acquired');
    return { subnets, key, value, leaseId, renewAfterMs: this.#renewAfter(ttlSeconds) };
  }

  /** Before the lease's own key: whoever hears of that one knows this one already. */
  #about(name: string, { about }: Publication, leaseId: string): Put[] {
    const { prefix, nodeName } = this.#options;
    const value = JSON.stringify({ node: nodeName, ...about });
    return [{ type: 'put', key: aboutKey(prefix, name), value, leaseId }];
  }

  /** The lease's own time, made full; or a new one where it has just ended. */
  async #liveTime(leaseId: string): Promise<LeaseTime> {
    const { client, leaseSeconds } = this.#options;
    try {
      return { leaseId, renewAfterMs: this.#renewAfter(await client.renewLease(leaseId)) };
    } catch (error) {
      if (!isEtcdError(error, 'ETCD_LEASE_NOT_FOUND')) throw error;
      const granted = await client.grantLease(leaseSeconds);
      return { leaseId: granted.leaseId, renewAfterMs: this.#renewAfter(granted.ttlSeconds) };
    }
  }

  #renewAfter(ttlSeconds: number): number {
    const { renewMarginSeconds } = this.#options;
    // Somebody may have given the key a shorter lease than the margin.
    const seconds = ttlSeconds > renewMarginSeconds ? ttlSeconds - renewMarginSeconds : ttlSeconds / 3;
    return seconds * 1000;
  }

  /** Whoever is slow must not serve a subnet that has another owner. */
  #letGoOfTaken(leases: readonly SeenLease[], decision: Decision): void {
    const own = decision.type === 'claim' ? decision.givesUp : [];
    const isTaken = [...(this.#held?.subnets ?? [])].some(([family, subnet]) =>
      leases.some((lease) => !own.includes(lease) && lease.subnets.get(family)?.overlaps(subnet) === true),
    );
    if (isTaken) this.#held = undefined;
  }

  #hold(held: HeldLease): HeldLease {
    this.#held = held;
    this.#last = held;
    return held;
  }
}

type Put = Extract<Operation, { type: 'put' }>;

interface LeaseTime {
  readonly leaseId: string;
  readonly renewAfterMs: number | undefined;
}

const NO_END: LeaseTime = { leaseId: '0', renewAfterMs: undefined };

const unchanged = ({ key, modRevision }: { key: string; modRevision: number }): Condition => ({
  type: 'unchanged',
  key,
  modRevision,
});

function exhausted({ ranges, leases }: StoreView): FlatnetError {
  const text = [...ranges.values()].map(
    ({ first, last, prefixLength }) => `${first.toString()} to ${last.toString()} (/${prefixLength})`,
  );
  const reserved = leases.filter(isReservation).length;
  return new FlatnetError(
    `no subnet is free: ${leases.length} leases, ${reserved} of them reservations, in ${text.join(' and ')}`,
    {
      code: 'SUBNETS_EXHAUSTED',
      hint: 'make Network larger or SubnetLen longer, or delete leases of nodes that are gone; they end by themselves after a day',
      retryable: true,
    },
  );
}
