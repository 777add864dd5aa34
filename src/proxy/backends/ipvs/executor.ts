import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import { describeIpsetChange, type IpsetChange, type IpsetKernel } from '../../../kernel/ipset/objects.ts';
import {
  describeIpvsChange,
  serverText,
  type IpvsChange,
  type IpvsKernel,
  type RealServerKey,
  type VirtualServerKey,
} from '../../../kernel/ipvs/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { Ip } from '../../../net/ip.ts';
import type { SyncReport } from '../../backend.ts';
import { destinationKey, type ProgramUpdate } from './program.ts';
import { SERVICE_DEVICE } from './settings.ts';
import { setOf } from './set-names.ts';
import type { Terminated, Terminations } from './termination.ts';

/** The kernel is not as it was left: somebody else was at it, and only looking at everything helps. */
const DRIFT: ReadonlySet<string> = new Set(['EEXIST', 'ESRCH', 'ENOENT', 'ENODEV', 'EADDRNOTAVAIL']);

export interface ExecutorKernels {
  readonly ipvs: IpvsKernel;
  readonly ipset: IpsetKernel;
  readonly route: RouteKernel;
}

/** Brings updates into the kernel. Everything here is synchronous. */
export class Executor {
  readonly #kernels: ExecutorKernels;
  readonly #terminations: Terminations;
  /** Servers and real servers that the kernel would not have: nobody else's doing. */
  readonly refused = new Set<string>();
  #lines: (() => string[])[] = [];
  #failures: { subject: string; message: string }[] = [];
  #drift: FlatnetError | undefined;

  constructor(kernels: ExecutorKernels, terminations: Terminations) {
    this.#kernels = kernels;
    this.#terminations = terminations;
  }

  isRefused(server: VirtualServerKey, destination: RealServerKey): boolean {
    return this.refused.has(destinationKey(serverText(server), destination));
  }

  isTerminating(server: VirtualServerKey, destination: RealServerKey): boolean {
    return this.#terminations.has(server, destination);
  }

  /** What traffic needs, before what makes it come here. */
  add(update: ProgramUpdate): void {
    this.#changeSets(update.addedEntries);
    this.#changeServers(update.servers.map((change) => this.#revived(change)));
    this.#changeAddresses(update.addedAddresses, 'add');
  }

  /** What is needed no more, after what makes it be not needed. */
  remove(update: ProgramUpdate): void {
    this.#retire(update.retired);
    for (const { server } of update.deletedServers) {
      if (!this.refused.delete(serverText(server))) {
        this.#note(this.#terminations.deleteServer(server, schedulerOf(server)));
      }
    }
    // Connections that go on need the address; that it is in the set has new ones refused.
    const held = (address: string): boolean => this.#terminations.holds(address);
    this.#changeSets(update.deletedEntries.filter(({ entry }) => !held(entry)));
    this.#changeAddresses(
      update.deletedAddresses.filter((address) => !held(address)),
      'delete',
    );
  }

  /** Takes an address away whose last virtual server has gone. */
  release(address: string): void {
    const family = address.includes(':') ? 6 : 4;
    this.#changeSets([{ operation: 'delete', set: setOf('serviceIps', family), entry: address }]);
    this.#changeAddresses([address], 'delete');
  }

  /** What was done since the last time. Throws where the kernel was not as it had been left. */
  report(conflicts: SyncReport['conflicts']): SyncReport {
    const [lines, failures, drift] = [this.#lines, this.#failures, this.#drift];
    this.#lines = [];
    this.#failures = [];
    this.#drift = undefined;
    if (drift !== undefined) throw drift;
    return { describe: () => lines.flatMap((line) => line()), conflicts, failures };
  }

  /** A server that terminates and is wanted again is there already. */
  #revived(change: IpvsChange): IpvsChange {
    if (change.operation === 'add-server' && this.#terminations.revive(change.server)) {
      return { operation: 'set-server', server: change.server };
    }
    if (change.operation !== 'add-destination') return change;
    const { server, destination } = change;
    if (!this.#terminations.has(server, destination)) return change;
    this.#terminations.forget(server, destination);
    return { operation: 'set-destination', server, destination };
  }

  #retire(retired: ProgramUpdate['retired']): void {
    const groups = new Map<string, { server: VirtualServerKey; destinations: RealServerKey[] }>();
    for (const { server, destination } of retired) {
      const group = groups.get(serverText(server)) ?? { server, destinations: [] };
      group.destinations.push(destination);
      groups.set(serverText(server), group);
    }
    for (const { server, destinations } of groups.values()) {
      const wanted = destinations.filter(
        (destination) => !this.refused.delete(destinationKey(serverText(server), destination)),
      );
      this.#note(this.#terminations.retire(server, wanted, schedulerOf(server)));
    }
  }

  #note({ changes, refusals }: Terminated): void {
    this.#lines.push(() => changes.map(describeIpvsChange));
    for (const { change, error } of refusals) this.#refuse(subjectOf(change), error);
  }

  #changeServers(changes: readonly IpvsChange[]): void {
    if (changes.length === 0) return;
    this.#lines.push(() => changes.map(describeIpvsChange));
    const refusals = this.#kernels.ipvs.apply(changes);
    for (const { change, error } of refusals) {
      if (this.#refuse(subjectOf(change), error)) this.refused.add(keyOf(change));
    }
  }

  #changeSets(changes: readonly IpsetChange[]): void {
    if (changes.length === 0) return;
    this.#lines.push(() => changes.map(describeIpsetChange));
    for (const { change, error } of this.#kernels.ipset.apply(changes)) {
      this.#refuse(`ipset ${change.set.name}`, error);
    }
  }

  #changeAddresses(addresses: readonly string[], operation: 'add' | 'delete'): void {
    if (addresses.length === 0) return;
    const sign = operation === 'add' ? '+' : '-';
    this.#lines.push(() => addresses.map((address) => `${sign} ${SERVICE_DEVICE} ${address}`));
    const device = this.#kernels.route.link(SERVICE_DEVICE)?.index;
    if (device === undefined) {
      this.#drift ??= new FlatnetError(`${SERVICE_DEVICE} is gone`, { code: 'ENODEV', retryable: true });
      return;
    }
    for (const address of addresses) this.#changeAddress(device, address, operation);
  }

  #changeAddress(link: number, address: string, operation: 'add' | 'delete'): void {
    const ip = Ip.parse(address);
    const key = { link, ip, prefixLength: ip.family === 4 ? 32 : 128 };
    try {
      // Nobody else has it, and an address that is being looked for on the wire cannot be used.
      if (operation === 'add') this.#kernels.route.replaceAddress({ ...key, noDad: true });
      else this.#kernels.route.deleteAddress(key);
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      const gone = operation === 'delete' && error.code === 'EADDRNOTAVAIL';
      if (!gone) this.#refuse(`address ${address}`, error);
    }
  }

  /** True where it will be refused again. */
  #refuse(subject: string, error: FlatnetError): boolean {
    if (DRIFT.has(error.code)) {
      this.#drift ??= new FlatnetError(`${error.message}: somebody else changed it`, {
        code: error.code,
        retryable: true,
        cause: error,
      });
      return false;
    }
    this.#failures.push({ subject, message: describeError(error) });
    return true;
  }
}

function schedulerOf(server: VirtualServerKey): string {
  return 'scheduler' in server ? String(server.scheduler) : '';
}

function subjectOf(change: IpvsChange): string {
  return `virtual server ${serverText(change.server)}`;
}

function keyOf(change: IpvsChange): string {
  const server = serverText(change.server);
  return 'destination' in change ? destinationKey(server, change.destination) : server;
}
