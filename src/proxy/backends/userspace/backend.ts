import { ConntrackSocket } from '../../../kernel/conntrack/conntrack-socket.ts';
import { openIptables } from '../../../kernel/iptables/open.ts';
import { chooseVariant } from '../../../kernel/iptables/variant.ts';
import { createLogger, type Logger } from '../../../log/logger.ts';
import type { ProxyBackend, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { Chance } from './balancer.ts';
import { UserspaceFamily, type FamilyKernels, type FamilyReport } from './family.ts';
import { frontsOpener } from './fronts.ts';
import type { UserspaceSettings } from './settings.ts';

const CHANCE: Chance = { nowMs: () => performance.now(), random: () => Math.random() };

/**
 * Services by sockets of this process, as kube-proxy's first mode had them: a rule for each address and port leads
 * connections to a port of the process, which asks connection tracking where they wanted to go, connects to an
 * endpoint, and to another one where that is dead.
 *
 * Endpoints see an address of the node. What the process carries ends with it, and while it is away Services are
 * refused: rules stay in the kernel, and the next process takes the ports that they lead to.
 */
export class UserspaceBackend implements ProxyBackend {
  readonly mode = 'userspace';
  readonly #families: readonly UserspaceFamily[];
  #drained: Promise<void> | undefined;

  /** One set of kernels for each family that is to be served. Throws PROXY_ADDRESS. */
  constructor(
    kernels: readonly FamilyKernels[],
    settings: ProxySettings,
    mode: UserspaceSettings = {},
    chance: Chance = CHANCE,
  ) {
    this.#families = kernels.map((one) => new UserspaceFamily(one, settings, mode, chance));
  }

  /**
   * `netns`: descriptor of the network namespace to serve; the process's own when absent. Throws PROXY_ADDRESS,
   * IPTABLES_MISSING.
   */
  static async open(
    settings: ProxySettings,
    mode: UserspaceSettings,
    logger: Logger = createLogger('proxy'),
    netns?: number,
  ): Promise<UserspaceBackend> {
    const { variant, why } = await chooseVariant(mode.iptablesVariant, netns);
    logger.info({ variant }, `iptables of the variant ${variant}: ${why}`);
    const kernels: FamilyKernels[] = [];
    for (const family of settings.families) {
      const conntrack = ConntrackSocket.open(netns);
      const iptables = await openIptables({ family, variant, netns });
      const openFronts = frontsOpener({ settings: mode, conntrack, logger, netns });
      kernels.push({ iptables, conntrack, openFronts });
    }
    return new UserspaceBackend(kernels, settings, mode);
  }

  get families(): readonly UserspaceFamily[] {
    return this.#families;
  }

  async prepare(): Promise<void> {
    for (const family of this.#families) await family.prepare();
  }

  async rebuild(ports: Iterable<ServicePort>): Promise<SyncReport> {
    const all = [...ports];
    const reports = new Map<4 | 6, FamilyReport>();
    for (const family of this.#families) {
      reports.set(family.family, await family.rebuild(all.filter((port) => port.family === family.family)));
    }
    return combined(reports);
  }

  async update(changes: readonly ServicePortChange[]): Promise<SyncReport> {
    const reports = new Map<4 | 6, FamilyReport>();
    for (const family of this.#families) {
      const own = changes.filter(({ id }) => id.endsWith(`/${family.family}`));
      if (own.length > 0) reports.set(family.family, await family.update(own));
    }
    return combined(reports);
  }

  async foreignChange(): Promise<boolean> {
    for (const family of this.#families) if (await family.foreignChange()) return true;
    return false;
  }

  watch(changed: () => void): () => void {
    const ends = this.#families.map(({ iptables }) => iptables.watch?.(changed));
    return () => ends.forEach((end) => end?.());
  }

  /** Connections that are established go on, UDP clients until they are silent for once: see `drained`. */
  async remove(): Promise<void> {
    for (const family of this.#families) await family.remove();
    this.#drained = Promise.all(
      this.#families.map(
        async ({ fronts }) => new Promise<void>((resolve) => (fronts ? fronts.retire(resolve) : resolve())),
      ),
    ).then(() => {});
  }

  /** After `remove`: resolves when the last connection that this process carries has ended. */
  async drained(): Promise<void> {
    await this.#drained;
  }

  /** Rules stay, what this process carries ends. */
  close(): Promise<void> {
    for (const family of this.#families) family.close();
    return Promise.resolve();
  }
}

function combined(reports: ReadonlyMap<4 | 6, FamilyReport>): SyncReport {
  const all = [...reports.values()];
  const sum = (of: (report: FamilyReport) => number): number =>
    all.reduce((total, report) => total + of(report), 0);
  return {
    describe: () => all.flatMap(({ describe }) => describe()),
    conflicts: all.flatMap(({ conflicts }) => conflicts),
    failures: all.flatMap(({ failures }) => failures),
    rules: { written: sum(({ written }) => written), total: sum(({ total }) => total) },
  };
}
