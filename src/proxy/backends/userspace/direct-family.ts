import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import { bindUdp, listenTcp } from '../../../kernel/netns/listen.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import type { Logger } from '../../../log/logger.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { Protocol } from '../../services/service-spec.ts';
import type { ProxySettings } from '../../settings.ts';
import { admittedSet, canServe, type CallerKind } from './admission.ts';
import type { Chance } from './balancer.ts';
import type { Destined } from './destined.ts';
import type { Entry } from './entries.ts';
import { FamilyProgram, type EntryPair, type FamilyUpdate, type Realise } from './family-program.ts';
import { ServiceAddresses } from './service-addresses.ts';
import { ServiceTable } from './service-table.ts';
import type { FamilyReport, ServingFamily } from './serving-family.ts';
import { DIAL_TIMEOUTS_MS, UDP_IDLE_TIMEOUT_MS, type UserspaceSettings } from './settings.ts';
import { TcpFront } from './tcp-front.ts';
import { UdpFront } from './udp-front.ts';

const BACKLOG = 4096;

export interface DirectKernels {
  readonly family: IpFamily;
  readonly routes: RouteKernel;
  readonly logger: Logger;
  readonly netns: number | undefined;
}

type Front = TcpFront | UdpFront;

/**
 * For kernels without NAT: every address of a Service becomes one of the node's own, by a local route, and the process
 * listens there. Who calls is told apart in the process, after it has taken the connection: who may not is reset, not
 * met with silence.
 */
export class DirectFamily implements ServingFamily {
  readonly family: IpFamily;
  readonly #kernels: DirectKernels;
  readonly #settings: ProxySettings;
  readonly #idleMs: number;
  readonly #table = new ServiceTable();
  readonly #program: FamilyProgram;
  /** By the entry's key. */
  readonly #fronts = new Map<string, { readonly address: string | undefined; readonly fronts: Front[] }>();
  /** Those that listen no more, but carry connections, with the addresses of these. */
  readonly #ending = new Map<Front, string | undefined>();
  /** Needed by entries, by their keys, and by fronts that are ending. */
  readonly #addresses: ServiceAddresses;
  /** Entries that somebody else's socket is in the way of: tried again with every change. */
  readonly #failed = new Map<string, EntryPair>();
  #drained: (() => void) | undefined;

  constructor(kernels: DirectKernels, settings: ProxySettings, mode: UserspaceSettings, chance: Chance) {
    this.family = kernels.family;
    this.#kernels = kernels;
    this.#settings = settings;
    const source = settings.nodeIps.find(({ family }) => family === kernels.family);
    this.#addresses = new ServiceAddresses(kernels.routes, kernels.family, source);
    this.#idleMs = mode.udpIdleTimeoutMs ?? UDP_IDLE_TIMEOUT_MS;
    this.#program = new FamilyProgram(realise, this.#table, chance);
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<FamilyReport> {
    const report = await this.#realise(this.#program.rebuild(ports));
    this.#addresses.prune();
    return report;
  }

  async update(changes: readonly ServicePortChange[]): Promise<FamilyReport> {
    return await this.#realise(this.#program.update(changes));
  }

  /** Nobody else has a reason to touch these routes, and to read them all would cost what all Services cost. */
  foreignChange(): Promise<boolean> {
    return Promise.resolve(false);
  }

  remove(): Promise<void> {
    this.#addresses.removeAll();
    return Promise.resolve();
  }

  retire(drained: () => void): void {
    this.#drained = drained;
    for (const key of this.#fronts.keys()) this.#stop(key);
    this.#tellDrained();
  }

  close(): void {
    for (const { fronts } of this.#fronts.values()) for (const front of fronts) front.close();
    for (const front of this.#ending.keys()) front.close();
    this.#fronts.clear();
    this.#ending.clear();
    this.#kernels.routes.close();
  }

  async #realise(update: FamilyUpdate): Promise<FamilyReport> {
    update.settle();
    const failures = [...update.failures];
    const lines: string[] = [];
    const pairs = new Map([...this.#failed, ...update.pairs.map((pair) => [pair.entry.key, pair] as const)]);
    this.#failed.clear();
    for (const [key, pair] of pairs) {
      try {
        lines.push(...(await this.#reconcile(pair)));
      } catch (error) {
        this.#failed.set(key, pair);
        // Another program has the port, say: no reason to leave the other Services alone.
        failures.push({ subject: pair.entry.what, message: describeError(error) });
      }
    }
    return { describe: () => lines, conflicts: update.conflicts, failures, rules: [] };
  }

  /** Has an entry's address and sockets there, or not, as who has it now needs. */
  async #reconcile({ entry, protocol }: EntryPair): Promise<string[]> {
    const { key } = entry;
    const served = this.#table.get(key);
    const done: string[] = [];
    if (served !== undefined && entry.address !== undefined)
      done.push(...this.#addresses.need(entry.address, key));
    const listens = served !== undefined && canServe(served.balancer.port, entry);
    if (listens && !this.#fronts.has(key)) {
      const fronts: Front[] = [];
      try {
        for (const host of this.#hostsOf(entry, protocol))
          fronts.push(await this.#listen(host, entry, protocol));
      } catch (error) {
        for (const front of fronts) front.close();
        throw error;
      }
      this.#fronts.set(key, { address: entry.address, fronts });
      done.push(`listen at ${entry.what}`);
    }
    if (!listens && this.#stop(key)) done.push(`no longer listen at ${entry.what}`);
    if (served === undefined && entry.address !== undefined)
      done.push(...this.#addresses.release(entry.address, key));
    return done;
  }

  async #listen(host: Ip, entry: Entry, protocol: Protocol): Promise<Front> {
    const { netns, logger, family } = this.#kernels;
    const options = { freeBind: true, backlog: BACKLOG, ...(netns === undefined ? {} : { netns }) };
    const destined = (source: string | undefined): Destined | undefined => this.#destined(entry, source);
    const isMeant = (called: string | undefined): boolean =>
      entry.address !== undefined || this.#hasNodePorts(called);
    let front: Front | undefined;
    const changed = (): void => {
      if (front !== undefined && this.#ending.has(front)) this.#endIfIdle(front);
    };
    const isEntrance = (endpoint: ServiceEndpoint): boolean =>
      this.#table.isEntrance(protocol, family, endpoint, this.#settings.nodeIps);
    const common = { family, logger, netns, isEntrance, changed };
    if (protocol === 'TCP') {
      const fd = listenTcp(host, entry.port, options);
      front = await TcpFront.open(fd, {
        ...common,
        timeoutsMs: DIAL_TIMEOUTS_MS,
        destined: ({ localAddress, remoteAddress }) =>
          isMeant(localAddress) ? destined(remoteAddress) : undefined,
      });
      return front;
    }
    const nothing = { refuse: () => {}, ended: () => {} };
    front = new UdpFront(bindUdp(host, entry.port, options), {
      ...common,
      idleMs: this.#idleMs,
      destined: ({ address }) => {
        const found = destined(address);
        return found === undefined ? undefined : { ...found, ...nothing };
      },
    });
    return front;
  }

  /** True when something listened there. What it carries goes on. */
  #stop(key: string): boolean {
    const found = this.#fronts.get(key);
    this.#fronts.delete(key);
    if (found === undefined) return false;
    for (const front of found.fronts) {
      front.stop();
      this.#ending.set(front, found.address);
      // Without the address the connections that are left would be cut.
      if (found.address !== undefined) this.#addresses.need(found.address, front);
      this.#endIfIdle(front);
    }
    return true;
  }

  #endIfIdle(front: Front): void {
    if (front.active > 0) return;
    const address = this.#ending.get(front);
    this.#ending.delete(front);
    front.close();
    if (address !== undefined) this.#addresses.release(address, front);
    this.#tellDrained();
  }

  #tellDrained(): void {
    if (this.#drained === undefined || this.#ending.size > 0) return;
    this.#drained();
    this.#drained = undefined;
  }

  #destined(entry: Entry, source: string | undefined): Destined | undefined {
    const served = this.#table.get(entry.key);
    if (served === undefined || source === undefined) return undefined;
    const plain = source.replace(/%.*$/, '');
    const set = admittedSet(served.balancer.port, entry, plain, (from) => this.#kindOf(from));
    return set === undefined ? undefined : { served, set };
  }

  #kindOf(source: string): CallerKind {
    const ip = Ip.parse(source);
    const { localTraffic } = this.#settings;
    const { routes } = this.#kernels;
    if (localTraffic.kind === 'cidrs' && localTraffic.cidrs.some((cidr) => cidr.contains(ip))) return 'pod';
    let route;
    try {
      route = routes.routeTo(ip);
    } catch (error) {
      if (error instanceof FlatnetError) return 'other';
      throw error;
    }
    if (route.type === 'local') return 'node';
    if (localTraffic.kind === 'none' || localTraffic.kind === 'cidrs' || route.link === undefined)
      return 'other';
    const name = routes.link(route.link)?.name ?? '';
    const isPods =
      localTraffic.kind === 'bridge' ? name === localTraffic.device : name.startsWith(localTraffic.prefix);
    return isPods ? 'pod' : 'other';
  }

  /** Node ports, where all addresses have them: UDP by each, so that answers leave from the one that was called. */
  #hostsOf({ address }: Entry, protocol: Protocol): Ip[] {
    if (address !== undefined) return [Ip.parse(address)];
    const { nodePortAddresses, nodeIps, localhostNodePorts } = this.#settings;
    const own = (ips: readonly Ip[]): Ip[] => ips.filter(({ family }) => family === this.family);
    if (nodePortAddresses !== 'all') return own(nodePortAddresses);
    if (protocol === 'TCP') return [Ip.parse(this.family === 4 ? '0.0.0.0' : '::')];
    return [...own(nodeIps), ...(localhostNodePorts && this.family === 4 ? [Ip.parse('127.0.0.1')] : [])];
  }

  /** A socket of all addresses is one of the loopback addresses too. */
  #hasNodePorts(called: string | undefined): boolean {
    const { nodePortAddresses, localhostNodePorts } = this.#settings;
    if (called === undefined || nodePortAddresses !== 'all') return true;
    return this.family === 6 ? called !== '::1' : localhostNodePorts || !called.startsWith('127.');
  }
}

const realise: Realise = (port, entry) => ({ rules: [], text: canServe(port, entry) ? 'served' : 'refused' });
