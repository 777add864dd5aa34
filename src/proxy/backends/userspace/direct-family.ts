import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import { bindUdp, listenTcp } from '../../../kernel/netns/listen.ts';
import { RT_TABLE_LOCAL } from '../../../kernel/netlink/constants.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import type { Logger } from '../../../log/logger.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { Protocol } from '../../services/service-spec.ts';
import type { ProxySettings } from '../../settings.ts';
import { admittedSet, canServe, type CallerKind } from './admission.ts';
import type { Chance } from './balancer.ts';
import type { Destined } from './destined.ts';
import type { Entry } from './entries.ts';
import { FamilyProgram, type EntryPair, type FamilyUpdate, type Realise } from './family-program.ts';
import { ServiceTable } from './service-table.ts';
import type { FamilyReport, ServingFamily } from './serving-family.ts';
import { DIAL_TIMEOUTS_MS, UDP_IDLE_TIMEOUT_MS, type UserspaceSettings } from './settings.ts';
import { TcpFront } from './tcp-front.ts';
import { UdpFront } from './udp-front.ts';

/** rtm_protocol of the local routes, so that they are known again; not one of /etc/iproute2/rt_protos. */
const ROUTE_PROTOCOL = 71;
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
  readonly #fronts = new Map<string, Front[]>();
  /** Those that listen no more, but carry connections. */
  readonly #ending = new Set<Front>();
  /** By address, the entries that need it. */
  readonly #addresses = new Map<string, Set<string>>();
  #drained: (() => void) | undefined;

  constructor(kernels: DirectKernels, settings: ProxySettings, mode: UserspaceSettings, chance: Chance) {
    this.family = kernels.family;
    this.#kernels = kernels;
    this.#settings = settings;
    this.#idleMs = mode.udpIdleTimeoutMs ?? UDP_IDLE_TIMEOUT_MS;
    this.#program = new FamilyProgram(realise, this.#table, chance);
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<FamilyReport> {
    const report = await this.#realise(this.#program.rebuild(ports));
    for (const { destination } of this.#ownRoutes()) {
      if (!this.#addresses.has(destination.ip.toString())) this.#deleteRoute(destination.ip);
    }
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
    for (const { destination } of this.#ownRoutes()) this.#deleteRoute(destination.ip);
    return Promise.resolve();
  }

  retire(drained: () => void): void {
    this.#drained = drained;
    for (const key of this.#fronts.keys()) this.#stop(key);
    this.#tellDrained();
  }

  close(): void {
    for (const fronts of this.#fronts.values()) for (const front of fronts) front.close();
    for (const front of this.#ending) front.close();
    this.#fronts.clear();
    this.#ending.clear();
    this.#kernels.routes.close();
  }

  async #realise(update: FamilyUpdate): Promise<FamilyReport> {
    update.settle();
    const failures = [...update.failures];
    const lines: string[] = [];
    for (const pair of update.pairs) {
      try {
        lines.push(...(await this.#reconcile(pair)));
      } catch (error) {
        // Another program has the port, say: no reason to leave the other Services alone.
        failures.push({ subject: pair.entry.what, message: describeError(error) });
      }
    }
    return { describe: () => lines, conflicts: update.conflicts, failures, written: 0, total: 0 };
  }

  /** Has an entry's address and sockets there, or not, as who has it now needs. */
  async #reconcile({ entry, protocol }: EntryPair): Promise<string[]> {
    const { key } = entry;
    const served = this.#table.get(key);
    const done: string[] = [];
    if (served !== undefined && entry.address !== undefined) done.push(...this.#need(entry.address, key));
    const listens = served !== undefined && canServe(served.balancer.port, entry);
    if (listens && !this.#fronts.has(key)) {
      const fronts: Front[] = [];
      this.#fronts.set(key, fronts);
      for (const host of this.#hostsOf(entry, protocol))
        fronts.push(await this.#listen(host, entry, protocol));
      done.push(`listen at ${entry.what}`);
    }
    if (!listens && this.#stop(key)) done.push(`no longer listen at ${entry.what}`);
    if (served === undefined && entry.address !== undefined) done.push(...this.#release(entry.address, key));
    return done;
  }

  async #listen(host: Ip, entry: Entry, protocol: Protocol): Promise<Front> {
    const { netns, logger, family } = this.#kernels;
    const inNetns = netns === undefined ? {} : { netns };
    const destined = (source: string | undefined): Destined | undefined => this.#destined(entry, source);
    let front: Front | undefined;
    const changed = (): void => {
      if (front !== undefined && this.#ending.has(front)) this.#end(front);
    };
    const common = { family, logger, netns, changed };
    if (protocol === 'TCP') {
      const fd = listenTcp(host, entry.port, { ...inNetns, backlog: BACKLOG });
      front = await TcpFront.open(fd, {
        ...common,
        timeoutsMs: DIAL_TIMEOUTS_MS,
        destined: ({ remoteAddress }) => destined(remoteAddress),
      });
      return front;
    }
    const nothing = { refuse: () => {}, ended: () => {} };
    front = new UdpFront(bindUdp(host, entry.port, inNetns), {
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
    const fronts = this.#fronts.get(key);
    this.#fronts.delete(key);
    for (const front of fronts ?? []) {
      this.#ending.add(front);
      front.stop();
      this.#end(front);
    }
    return fronts !== undefined;
  }

  #end(front: Front): void {
    if (front.active > 0) return;
    this.#ending.delete(front);
    front.close();
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

  #need(address: string, key: string): string[] {
    const users = this.#addresses.get(address);
    if (users !== undefined) {
      users.add(key);
      return [];
    }
    this.#addresses.set(address, new Set([key]));
    const { routes } = this.#kernels;
    const ip = Ip.parse(address);
    const source = this.#settings.nodeIps.find(({ family }) => family === this.family);
    try {
      routes.addRoute({
        ...this.#routeKey(ip),
        ...(routes.link('lo') === undefined ? {} : { link: routes.link('lo')?.index ?? 1 }),
        ...(source === undefined ? {} : { source }),
      });
      return [`ip route add local ${address} dev lo`];
    } catch (error) {
      // One of the node's own addresses, or a route that an earlier process made.
      if (error instanceof FlatnetError && error.code === 'EEXIST') return [];
      this.#addresses.delete(address);
      throw error;
    }
  }

  #release(address: string, key: string): string[] {
    const users = this.#addresses.get(address);
    users?.delete(key);
    if (users === undefined || users.size > 0) return [];
    this.#addresses.delete(address);
    return this.#deleteRoute(Ip.parse(address)) ? [`ip route del local ${address} dev lo`] : [];
  }

  #deleteRoute(ip: Ip): boolean {
    try {
      this.#kernels.routes.deleteRoute(this.#routeKey(ip));
      return true;
    } catch (error) {
      // Not ours, or gone.
      if (error instanceof FlatnetError && error.code === 'ESRCH') return false;
      throw error;
    }
  }

  #routeKey(ip: Ip) {
    const destination = new Cidr(ip, this.family === 4 ? 32 : 128);
    return { destination, type: 'local', table: RT_TABLE_LOCAL, protocol: ROUTE_PROTOCOL } as const;
  }

  #ownRoutes() {
    return this.#kernels.routes.routes({
      family: this.family,
      table: RT_TABLE_LOCAL,
      protocol: ROUTE_PROTOCOL,
    });
  }
}

const realise: Realise = (port, entry) => ({ rules: [], text: canServe(port, entry) ? 'served' : 'refused' });
