import type { IpvsKernel, VirtualServer } from '../../../kernel/ipvs/objects.ts';
import type { IpsetKernel } from '../../../kernel/ipset/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { ProxySettings } from '../../settings.ts';
import { adoptServer, emptyUpdate } from './adoption.ts';
import type { Executor } from './executor.ts';
import type { NodeView } from './plan.ts';
import type { IpvsProgram } from './program.ts';
import { SET_PURPOSES, setOf } from './set-names.ts';
import { SERVICE_DEVICE, type IpvsModeSettings } from './settings.ts';
import type { Terminations } from './termination.ts';

const LOOPBACK: Readonly<Record<IpFamily, Cidr>> = {
  4: Cidr.parse('127.0.0.0/8'),
  6: Cidr.parse('::1/128'),
};
const LINK_LOCAL = Cidr.parse('fe80::/10');
/**
 * Virtual servers are looked into a few at a time, for a millisecond every 50, so that no change waits for it: some
 * thousands in five seconds. What there are more has its turn later.
 */
const LOOKED_AT_ONCE = 4;
const LOOK_MS = 1;
const LOOK_EVERY_MS = 50;

/** Addresses of the node and of kube-ipvs0, by what rtnetlink tells. */
export interface DeviceAddresses {
  /** On other devices, without loopback and link-local ones. */
  readonly own: ReadonlySet<string>;
  readonly services: ReadonlySet<string>;
}

export function readAddresses(route: RouteKernel, family: IpFamily): DeviceAddresses {
  const device = route.link(SERVICE_DEVICE)?.index;
  const own = new Set<string>();
  const services = new Set<string>();
  for (const { link, ip, tentative } of route.addresses({ family })) {
    // A dummy device that is up makes itself a link-local address.
    if (LOOPBACK[family].contains(ip) || (family === 6 && LINK_LOCAL.contains(ip))) continue;
    if (link === device) services.add(ip.toString());
    else if (!tentative) own.add(ip.toString());
  }
  return { own, services };
}

export function viewOf(
  settings: ProxySettings,
  mode: IpvsModeSettings,
  family: IpFamily,
  own: ReadonlySet<string>,
): NodeView {
  const { nodePortAddresses, nodeIps } = settings;
  const chosen =
    nodePortAddresses === 'all'
      ? [...own]
      : nodePortAddresses
          .filter((ip) => ip.family === family && !LOOPBACK[family].contains(ip))
          .map((ip) => ip.toString());
  return {
    scheduler: mode.scheduler ?? 'rr',
    nodeIps: nodeIps.filter((ip) => ip.family === family),
    nodePortAddresses: chosen,
    ownAddresses: own,
  };
}

/** Whether a virtual server is this mode's to keep or delete. */
export function isOurs(server: VirtualServer, family: IpFamily, mode: IpvsModeSettings): boolean {
  const ip = Ip.parse(server.address);
  return ip.family === family && mode.excludeCIDRs?.some((cidr) => cidr.contains(ip)) !== true;
}

export interface AuditedKernels {
  readonly ipvs: IpvsKernel;
  readonly ipset: IpsetKernel;
}

/**
 * Looks whether the kernel has what it was left with: sizes at each look, and virtual servers with their real servers
 * one after the other. IPVS tells nobody of changes.
 */
export class Audit {
  readonly #kernels: AuditedKernels;
  readonly #programs: readonly IpvsProgram[];
  readonly #executor: Executor;
  readonly #terminations: Terminations;
  /** Virtual servers that are in the kernel and not this mode's. */
  #others = 0;
  #next: Iterator<string> | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(
    kernels: AuditedKernels,
    programs: readonly IpvsProgram[],
    executor: Executor,
    terminations: Terminations,
  ) {
    this.#kernels = kernels;
    this.#terminations = terminations;
    this.#programs = programs;
    this.#executor = executor;
  }

  /** Everything has just been looked at. */
  begin(others: number): void {
    this.#others = others;
    this.stop();
  }

  /** Whether sizes differ, or one of the first virtual servers that are looked into. */
  foundChange(): boolean {
    return this.#setsDiffer() || this.#countDiffers() || this.#someDiffer();
  }

  /** Goes on with virtual servers in the background, until all have been looked into or one of them differs. */
  goOn(changed: () => void): void {
    if (this.#next === undefined || this.#timer !== undefined) return;
    this.#timer = setInterval(() => {
      let differs: boolean;
      try {
        differs = this.#someDiffer();
      } catch {
        // What cannot be asked is asked again by the next audit.
        this.stop();
        return;
      }
      if (differs) changed();
      if (differs || this.#next === undefined) this.stop();
    }, LOOK_EVERY_MS).unref();
  }

  /** Until the next look. */
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#next = undefined;
  }

  #setsDiffer(): boolean {
    const sizes = new Map(this.#kernels.ipset.sets().map(({ name, size }) => [name, size]));
    return this.#programs.some((program) =>
      SET_PURPOSES.some((purpose) => {
        const needed = program.sizes.get(purpose) ?? 0;
        const { name } = setOf(purpose, program.family);
        const count = purpose === 'serviceIps' ? needed + this.#heldAddresses(program) : needed;
        // Kernels before 4.9 do not tell sizes.
        return !sizes.has(name) || (sizes.get(name) ?? count) !== count;
      }),
    );
  }

  /** Addresses that are there for connections of Services that are gone. */
  #heldAddresses(program: IpvsProgram): number {
    const addresses = [...this.#terminations.goneServers.values()].map(({ address }) => address);
    const own = addresses.filter((address) => address.includes(':') === (program.family === 6));
    return [...new Set(own)].filter(
      (address) => !program.hasAddress(address) && !program.node.ownAddresses.has(address),
    ).length;
  }

  #countDiffers(): boolean {
    const refused = this.#executor.refused;
    let wanted = this.#others + this.#terminations.goneServers.size;
    for (const { servers } of this.#programs) wanted += servers.size;
    for (const key of refused) if (this.#find(key) !== undefined) wanted -= 1;
    return this.#kernels.ipvs.countServers() !== wanted;
  }

  #someDiffer(): boolean {
    const until = performance.now() + LOOK_MS;
    for (let looked = 0; looked < LOOKED_AT_ONCE || performance.now() < until; looked += 1) {
      this.#next ??= this.#keys();
      const { value, done } = this.#next.next() as IteratorResult<string, undefined>;
      if (done === true) {
        this.#next = undefined;
        return false;
      }
      const program = this.#find(value);
      if (program !== undefined && this.#differs(program, value)) return true;
    }
    return false;
  }

  *#keys(): Iterator<string> {
    for (const { servers } of this.#programs) yield* servers.keys();
  }

  #find(key: string): IpvsProgram | undefined {
    return this.#programs.find(({ servers }) => servers.has(key));
  }

  #differs(program: IpvsProgram, key: string): boolean {
    const planned = program.servers.get(key);
    if (planned === undefined || this.#executor.refused.has(key)) return false;
    const { ipvs } = this.#kernels;
    const found = ipvs.virtualServer(planned.server);
    if (found === undefined) return true;
    const update = emptyUpdate();
    adoptServer(planned, found, ipvs.realServers(planned.server), update);
    const concerns = update.servers.filter(
      (change) => !('destination' in change && this.#executor.isRefused(change.server, change.destination)),
    );
    const gone = update.retired.some(
      ({ server, destination }) => !this.#executor.isTerminating(server, destination),
    );
    return concerns.length > 0 || gone;
  }
}
