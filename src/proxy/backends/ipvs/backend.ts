import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import { describeChange } from '../../../kernel/iptables/restore-text.ts';
import type { IpvsKernel } from '../../../kernel/ipvs/objects.ts';
import type { RouteEvent } from '../../../kernel/netlink/objects.ts';
import type { Logger } from '../../../log/logger.ts';
import { Ip } from '../../../net/ip.ts';
import type { ProxyBackend, ServiceConflict, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { sleep } from '../../../timing/backoff.ts';
import { adopt } from './adoption.ts';
import { drain } from './drain.ts';
import { Executor } from './executor.ts';
import { openKernels, type IpvsModeKernels } from './kernels.ts';
import { Audit, isOurs, readAddresses, viewOf } from './observation.ts';
import { IpvsProgram } from './program.ts';
import { requireDevice, requireIpvs, requireSets, requireSysctls } from './requirements.ts';
import { RuleKeeper } from './rule-keeper.ts';
import { allSetNames } from './set-names.ts';
import {
  DRAIN_CHECK_MS,
  DRAIN_LIMIT_MS,
  SERVICE_DEVICE,
  TERMINATION_CHECK_MS,
  type IpvsModeSettings,
} from './settings.ts';
import { Terminations } from './termination.ts';

/** What is there once the kernel has IPVS. */
interface Running {
  readonly ipvs: IpvsKernel;
  readonly terminations: Terminations;
  readonly executor: Executor;
  readonly audit: Audit;
}

/** Service ports as virtual servers of IPVS, with kube-proxy's ipsets and constant iptables rules. */
export class IpvsBackend implements ProxyBackend {
  readonly mode = 'ipvs';
  readonly #kernels: IpvsModeKernels;
  readonly #settings: ProxySettings;
  readonly #modeSettings: IpvsModeSettings;
  readonly #logger: Logger | undefined;
  readonly #rules: readonly RuleKeeper[];
  readonly #programs: readonly IpvsProgram[];
  readonly #watch = new AbortController();
  #running: Running | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** Whether the kernel tells of changes of addresses and devices; else they are looked at. */
  #watching = false;
  /** The number of kube-ipvs0: asked for at each of ten thousand addresses it would take seconds. */
  #device: number | undefined;
  /** Somebody else changed something. */
  #disturbed = false;
  /** Who wants to be told of that. */
  #watcher: (() => void) | undefined;
  #drained: Promise<void> = Promise.resolve();
  #endDrain: () => void = () => {};

  constructor(
    kernels: IpvsModeKernels,
    settings: ProxySettings,
    modeSettings: IpvsModeSettings = {},
    logger?: Logger,
  ) {
    this.#kernels = kernels;
    this.#settings = settings;
    this.#modeSettings = modeSettings;
    this.#logger = logger;
    this.#rules = kernels.iptables.map((kernel) => new RuleKeeper(kernel, settings));
    this.#programs = settings.families.map(
      (family) => new IpvsProgram(family, viewOf(settings, modeSettings, family, new Set())),
    );
  }

  /** `netns`: descriptor of the network namespace to serve; the process's own when absent. Throws IPTABLES_MISSING. */
  static async open(
    settings: ProxySettings,
    modeSettings: IpvsModeSettings = {},
    logger?: Logger,
    netns?: number,
  ): Promise<IpvsBackend> {
    return new IpvsBackend(await openKernels(settings.families, netns), settings, modeSettings, logger);
  }

  async prepare(): Promise<void> {
    const { scheduler = 'rr', tcpTimeout = 0, tcpFinTimeout = 0, udpTimeout = 0 } = this.#modeSettings;
    const { ipset, route, node } = this.#kernels;
    if (this.#running === undefined) this.#run(await requireIpvs(this.#kernels, scheduler));
    requireSysctls(node, this.#modeSettings);
    requireSets(ipset, this.#settings.families, scheduler);
    await requireDevice(route, node, scheduler);
    if (tcpTimeout > 0 || tcpFinTimeout > 0 || udpTimeout > 0) {
      this.#need().ipvs.setTimeouts({
        tcp: seconds(tcpTimeout),
        tcpFin: seconds(tcpFinTimeout),
        udp: seconds(udpTimeout),
      });
    }
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<SyncReport> {
    const { executor, terminations, audit } = this.#need();
    audit.stop();
    const { scheduler = 'rr' } = this.#modeSettings;
    await requireDevice(this.#kernels.route, this.#kernels.node, scheduler);
    requireSets(this.#kernels.ipset, this.#settings.families, scheduler);
    // Where the iptables mode serves, the chains that both have change hands when everything else is there.
    const handover = await this.#isIptablesModeThere();
    const rules = handover ? [] : await this.#writeRules();
    terminations.clear();
    executor.refused.clear();
    const all = [...ports];
    const conflicts = this.#programs.flatMap((program) => this.#rebuildFamily(program, all));
    if (handover) rules.push(...(await this.#writeRules()));
    const report = executor.report(conflicts);
    return { ...report, describe: () => [...rules, ...report.describe()] };
  }

  async update(changes: readonly ServicePortChange[]): Promise<SyncReport> {
    const { executor } = this.#need();
    const updates = this.#programs.map((program) => {
      const suffix = `/${program.family}`;
      return program.update(changes.filter(({ id }) => id.endsWith(suffix)));
    });
    for (const update of updates) executor.add(update);
    for (const update of updates) executor.remove(update);
    return Promise.resolve(executor.report(updates.flatMap(({ conflicts }) => conflicts)));
  }

  async foreignChange(): Promise<boolean> {
    const { audit } = this.#need();
    if (this.#disturbed) return true;
    if (this.#kernels.route.link(SERVICE_DEVICE) === undefined || audit.foundChange()) return true;
    if (!this.#watching && this.#addressesDiffer()) return true;
    // One family at a time would find what was done to the other one after five seconds only.
    for (const keeper of this.#rules) if (await keeper.isAltered()) return true;
    audit.goOn(() => this.#disturb());
    return false;
  }

  /** Addresses and devices; IPVS and ipset tell nothing. */
  watch(changed: () => void): () => void {
    this.#watcher = changed;
    const end = new AbortController();
    this.#watching = true;
    const signal = AbortSignal.any([end.signal, this.#watch.signal]);
    this.#kernels.route.watch({
      groups: ['link', 'address'],
      signal,
      onEvent: (event) => {
        if (!this.#concerns(event)) return;
        this.#disturb();
      },
    });
    return () => {
      this.#watching = false;
      this.#watcher = undefined;
      end.abort();
    };
  }

  async remove({ endConnections = false }: { readonly endConnections?: boolean } = {}): Promise<void> {
    this.#stop();
    for (const keeper of this.#rules) await keeper.kernel.apply(await keeper.removal());
    const stayed = this.#removeSets();
    const ipvs = this.#openedIpvs();
    if (this.#drain(ipvs, endConnections)) return;
    this.#drained = this.#drainLater(ipvs, stayed);
  }

  /** After `remove`: resolves when the last connection has ended, or has had its time. */
  async drained(): Promise<void> {
    await this.#drained;
  }

  async close(): Promise<void> {
    this.#stop();
    this.#endDrain();
    await this.#drained;
    this.#running?.ipvs.close();
    this.#kernels.ipset.close();
    this.#kernels.route.close();
    for (const { kernel } of this.#rules) kernel.close();
  }

  /** Deletes real and virtual servers whose last connection has ended: done every minute. */
  checkTerminations(): void {
    this.#running?.terminations.check();
  }

  #run(ipvs: IpvsKernel): void {
    const { ipset, route } = this.#kernels;
    const terminations: Terminations = new Terminations(ipvs, (address) => {
      const needed = this.#programs.some((program) => program.hasAddress(address));
      if (needed || terminations.holds(address)) return;
      const bound = this.#programs.every(({ node }) => !node.ownAddresses.has(address));
      if (bound) executor.release(address);
    });
    const executor = new Executor({ ipvs, ipset, route }, terminations);
    const audit = new Audit({ ipvs, ipset }, this.#programs, executor, terminations);
    this.#running = { ipvs, terminations, executor, audit };
    this.#timer = setInterval(() => {
      try {
        this.checkTerminations();
      } catch (error) {
        this.#logger?.warn({ err: error }, `real servers that shall go: ${describeError(error)}`);
      }
    }, TERMINATION_CHECK_MS).unref();
  }

  #disturb(): void {
    this.#disturbed = true;
    this.#watcher?.();
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#running?.audit.stop();
    this.#watch.abort();
  }

  #need(): Running {
    if (this.#running !== undefined) return this.#running;
    throw new FlatnetError('the ipvs mode was not prepared', { code: 'NOT_PREPARED' });
  }

  #rebuildFamily(program: IpvsProgram, ports: readonly ServicePort[]): ServiceConflict[] {
    const { ipvs, executor, audit } = this.#need();
    const { family } = program;
    this.#device = this.#kernels.route.link(SERVICE_DEVICE)?.index;
    const addresses = readAddresses(this.#kernels.route, family);
    program.reset(viewOf(this.#settings, this.#modeSettings, family, addresses.own));
    const own = ports.filter((port) => port.family === family);
    const { conflicts } = program.update(own.map((port) => ({ id: port.id, port })));
    const ours = ipvs.virtualServers().filter((server) => isOurs(server, family, this.#modeSettings));
    const update = adopt(program, {
      servers: ours,
      destinations: (server) => ipvs.realServers(server),
      entries: (set) => this.#kernels.ipset.entries(set),
      addresses: addresses.services,
    });
    executor.add(update);
    executor.remove(update);
    this.#disturbed = false;
    audit.begin(this.#countOthers(ipvs));
    return conflicts;
  }

  #countOthers(ipvs: IpvsKernel): number {
    const known = ipvs.virtualServers();
    const ours = known.filter((server) =>
      this.#programs.some(({ family }) => isOurs(server, family, this.#modeSettings)),
    );
    return ipvs.countServers() - ours.length;
  }

  async #isIptablesModeThere(): Promise<boolean> {
    for (const keeper of this.#rules) if (await keeper.isIptablesModeThere()) return true;
    return false;
  }

  /** Returns what was missing, a line each. */
  async #writeRules(): Promise<string[]> {
    const lines: string[] = [];
    for (const keeper of this.#rules) {
      const missing = await keeper.missing();
      await keeper.kernel.apply(missing);
      lines.push(...missing.flatMap((change) => describeChange(change, keeper.kernel.family)));
    }
    return lines;
  }

  #addressesDiffer(): boolean {
    return this.#programs.some((program) => {
      const { own, services } = readAddresses(this.#kernels.route, program.family);
      const held = [...services].filter((address) => this.#running?.terminations.holds(address) === true);
      const wanted = new Set([...program.addresses(), ...held]);
      return !sameSet(services, wanted) || !sameSet(own, program.node.ownAddresses);
    });
  }

  #concerns(event: RouteEvent): boolean {
    if (event.kind === 'resync') return true;
    if (event.kind === 'link') return event.action === 'delete' && event.link.name === SERVICE_DEVICE;
    if (event.kind !== 'address') return false;
    const { ip, link } = event.address;
    const program = this.#programs.find(({ family }) => family === ip.family);
    if (program === undefined) return false;
    const added = event.action === 'set';
    if (link === this.#device) {
      const address = ip.toString();
      const held = this.#running?.terminations.holds(address) === true;
      return held ? !added : added !== program.hasAddress(address);
    }
    const { own } = readAddresses(this.#kernels.route, ip.family);
    return own.has(ip.toString()) !== program.node.ownAddresses.has(ip.toString());
  }

  #openedIpvs(): IpvsKernel | undefined {
    if (this.#running !== undefined) return this.#running.ipvs;
    // A kernel that has not loaded it has no virtual servers either.
    return this.#kernels.node.hasModule('ip_vs') ? this.#kernels.openIpvs() : undefined;
  }

  /** Returns the names of those that stay. */
  #removeSets(): Set<string> {
    const stayed = new Set<string>();
    for (const name of ([4, 6] as const).flatMap((family) => allSetNames(family))) {
      try {
        this.#kernels.ipset.destroy(name);
      } catch (error) {
        if (!(error instanceof FlatnetError)) throw error;
        // Some rule of somebody's looks at it.
        this.#logger?.warn({ ipset: name }, `ipset ${name} stays: ${describeError(error)}`);
        stayed.add(name);
      }
    }
    return stayed;
  }

  /** The mode was chosen again, here or in another process: its sets are there anew. */
  #servesAgain(stayed: ReadonlySet<string>): boolean {
    const own = new Set(([4, 6] as const).flatMap((family) => allSetNames(family)));
    return this.#kernels.ipset.sets().some(({ name }) => own.has(name) && !stayed.has(name));
  }

  #drain(ipvs: IpvsKernel | undefined, limitReached: boolean): boolean {
    // Without the device the mode was never there, and virtual servers are somebody else's.
    if (this.#kernels.route.link(SERVICE_DEVICE) === undefined) return true;
    const own = (server: Parameters<typeof isOurs>[0]): boolean =>
      isOurs(server, Ip.parse(server.address).family, this.#modeSettings);
    return drain(ipvs, this.#kernels.route, own, limitReached);
  }

  async #drainLater(ipvs: IpvsKernel | undefined, stayed: ReadonlySet<string>): Promise<void> {
    const end = new AbortController();
    this.#endDrain = () => end.abort();
    const limit = Date.now() + DRAIN_LIMIT_MS;
    while (!end.signal.aborted) {
      await sleep(DRAIN_CHECK_MS, end.signal);
      if (end.signal.aborted || this.#servesAgain(stayed)) return;
      if (this.#drain(ipvs, Date.now() >= limit)) return;
    }
  }
}

function seconds(ms: number): number {
  return Math.ceil(ms / 1000);
}

function sameSet(one: ReadonlySet<string>, other: ReadonlySet<string>): boolean {
  return one.size === other.size && [...one].every((key) => other.has(key));
}
