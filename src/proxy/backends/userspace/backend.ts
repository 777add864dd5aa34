import { describeError } from '../../../errors/flatnet-error.ts';
import { ConntrackSocket } from '../../../kernel/conntrack/conntrack-socket.ts';
import type { IptablesKernel, IptablesVariant } from '../../../kernel/iptables/objects.ts';
import { openIptables } from '../../../kernel/iptables/open.ts';
import { chooseVariant } from '../../../kernel/iptables/variant.ts';
import { LinuxRouteKernel } from '../../../kernel/netlink/apply.ts';
import { createLogger, type Logger } from '../../../log/logger.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { ProxyBackend, RuleCount, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { Chance } from './balancer.ts';
import { DirectFamily, type DirectKernels } from './direct-family.ts';
import { UserspaceFamily, type FamilyKernels } from './family.ts';
import { frontsOpener } from './fronts.ts';
import type { FamilyReport, ServingFamily } from './serving-family.ts';
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
  readonly #families: readonly ServingFamily[];
  #drained: Promise<void> | undefined;

  /** Kernels of each family that is to be served: with NAT, or without. */
  constructor(
    kernels: readonly (FamilyKernels | DirectKernels)[],
    settings: ProxySettings,
    mode: UserspaceSettings = {},
    chance: Chance = CHANCE,
  ) {
    this.#families = kernels.map((one) =>
      'iptables' in one
        ? new UserspaceFamily(one, settings, mode, chance)
        : new DirectFamily(one, settings, mode, chance),
    );
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
    const kernels: (FamilyKernels | DirectKernels)[] = [];
    for (const family of settings.families) kernels.push(await openKernels(family, mode, logger, netns));
    return new UserspaceBackend(kernels, settings, mode);
  }

  /** Families that rules are made for. */
  get natFamilies(): UserspaceFamily[] {
    return this.#families.filter((family) => family instanceof UserspaceFamily);
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
    const ends = this.#families.map((family) => family.watch?.(changed));
    return () => ends.forEach((end) => end?.());
  }

  async remove(): Promise<void> {
    for (const family of this.#families) await family.remove();
    this.#drained ??= this.#retire();
  }

  /**
   * When something else serves: resolves when the last connection that this process carries has ended. UDP clients are
   * handed over when they are silent for once.
   */
  async drained(): Promise<void> {
    this.#drained ??= this.#retire();
    await this.#drained;
  }

  /** Rules stay, what this process carries ends. */
  close(): Promise<void> {
    for (const family of this.#families) family.close();
    return Promise.resolve();
  }

  async #retire(): Promise<void> {
    await Promise.all(
      this.#families.map(async (family) => new Promise<void>((resolve) => family.retire(resolve))),
    );
  }
}

/** With NAT where the kernel has it, else without. */
async function openKernels(
  family: IpFamily,
  mode: UserspaceSettings,
  logger: Logger,
  netns: number | undefined,
): Promise<FamilyKernels | DirectKernels> {
  if (mode.redirect !== 'direct') {
    try {
      const iptables = await openNat(family, mode, logger, netns);
      const conntrack = ConntrackSocket.open(netns);
      return { iptables, conntrack, openFronts: frontsOpener({ settings: mode, conntrack, logger, netns }) };
    } catch (error) {
      if (mode.redirect === 'nat') throw error;
      const why = describeError(error);
      logger.warn(
        { family, error: why },
        `no NAT here, the proxy listens at the addresses of Services: ${why}`,
      );
    }
  }
  return { family, routes: LinuxRouteKernel.open(netns), logger, netns };
}

function combined(reports: ReadonlyMap<4 | 6, FamilyReport>): SyncReport {
  const all = [...reports.values()];
  const tables = all.flatMap(({ rules }) => rules);
  const sum = (of: (count: RuleCount) => number): number =>
    tables.reduce((total, count) => total + of(count), 0);
  return {
    describe: () => all.flatMap(({ describe }) => describe()),
    conflicts: all.flatMap(({ conflicts }) => conflicts),
    failures: all.flatMap(({ failures }) => failures),
    rules: { written: sum(({ written }) => written), total: sum(({ total }) => total), tables },
  };
}

/** The variant of iptables that the node uses; should the kernel not have it, the other one. */
async function openNat(
  family: IpFamily,
  { iptablesVariant }: UserspaceSettings,
  logger: Logger,
  netns: number | undefined,
): Promise<IptablesKernel> {
  const { variant, why } = await chooseVariant(iptablesVariant, netns);
  const open = async (one: IptablesVariant): Promise<IptablesKernel> => {
    const iptables = await openIptables({ family, variant: one, netns });
    await iptables.save('nat');
    return iptables;
  };
  try {
    const iptables = await open(variant);
    logger.info({ family, variant }, `iptables of the variant ${variant}: ${why}`);
    return iptables;
  } catch (error) {
    if (iptablesVariant !== undefined) throw error;
    return await open(variant === 'nft' ? 'legacy' : 'nft').catch(() => Promise.reject(error as Error));
  }
}
