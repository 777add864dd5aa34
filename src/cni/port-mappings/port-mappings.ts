import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { ConntrackKernel } from '../../kernel/conntrack/objects.ts';
import type { RouteEvent } from '../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../kernel/netlink/route-kernel.ts';
import type { NftKernel } from '../../kernel/nft/objects.ts';
import { readSysctl, writeSysctl } from '../../kernel/sysctl/sysctl.ts';
import type { Logger } from '../../log/logger.ts';
import { WorkQueue } from '../../reconcile/work-queue.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import type { PodFeature } from '../pod-feature.ts';
import type { Attachment } from '../protocol/request.ts';
import { describeHostPort, HostPortClaims, hostPortsOf, type HostPort } from './host-port.ts';
import { forgetEarlierFlows, forgetFlowsToPod } from './mapped-flows.ts';
import { PortsTableKeeper } from './ports-table-keeper.ts';

export interface PortMappingsOptions {
  readonly nft: NftKernel;
  readonly conntrack: ConntrackKernel;
  /** The node's own. */
  readonly kernel: RouteKernel;
  readonly logger: Logger;
  /** Descriptor of the node's network namespace; the process's own when absent. */
  readonly netns?: number;
}

interface Mapped {
  readonly attachment: Attachment;
  readonly ports: readonly HostPort[];
}

/** Changes that others make come in bursts. */
const REPAIR_DELAY_MS = 50;

/** Capability `portMappings`: ports of the node that lead to a pod, from wherever they are called. */
export class PortMappings implements PodFeature {
  readonly name = 'portMappings';
  readonly #options: PortMappingsOptions;
  readonly #tables: readonly PortsTableKeeper[];
  readonly #mapped = new Map<string, Mapped>();
  readonly #claims = new HostPortClaims();
  /** Names of devices by which packets of 127.0.0.0/8 may leave. */
  readonly #devices = new Set<string>();
  #repairSoon: (() => void) | undefined;
  #running: AbortSignal | undefined;
  #watching = false;

  constructor(options: PortMappingsOptions) {
    this.#options = options;
    this.#tables = ([4, 6] as const).map((family) => new PortsTableKeeper(options.nft, family));
  }

  /** Repairs the tables when somebody else changes them, until the signal is aborted. */
  async run(signal: AbortSignal): Promise<void> {
    const { nft, logger } = this.#options;
    const queue = new WorkQueue({
      name: 'host ports',
      process: async () => {
        if (this.#sync()) logger.warn('host ports were changed by somebody else, and are as they should be');
        return Promise.resolve();
      },
      logger,
    });
    const tables = this.#tables.map(({ table }) => table);
    this.#running = signal;
    this.#watchDevices();
    const repairSoon = (): void => queue.addAfter('tables', REPAIR_DELAY_MS);
    this.#repairSoon = repairSoon;
    const unwatch = nft.watch(tables, repairSoon);
    await queue.run(signal);
    unwatch();
  }

  add(record: AttachmentRecord): void {
    const ports = hostPortsOf(record);
    this.#unmap(record);
    if (ports.length === 0) return;
    this.#claims.claim(record, ports);
    this.#mapped.set(keyOf(record), { attachment: record, ports });
    try {
      for (const table of this.#tables) table.add(ports, this.#allPorts());
      this.#allowLoopback(record, ports);
      forgetEarlierFlows(this.#options.conntrack, ports, () => this.#nodeAddresses());
    } catch (error) {
      // The tables are as they were, or brought to that when they can be read again.
      this.#mapped.delete(keyOf(record));
      this.#claims.release(record, ports);
      this.#repairSoon?.();
      throw explained(error);
    }
  }

  remove(attachment: Attachment): void {
    this.#unmap(attachment);
  }

  check(record: AttachmentRecord): string[] {
    const ports = hostPortsOf(record);
    return this.#tables
      .flatMap((table) => table.missing(ports))
      .map(
        (port) => `hostPort ${describeHostPort(port)} does not lead to ${port.podIp} port ${port.podPort}`,
      );
  }

  gc(isValid: (attachment: Attachment) => boolean): void {
    for (const { attachment } of this.#mapped.values()) {
      if (!isValid(attachment)) this.#unmap(attachment);
    }
    this.#sync();
  }

  /** Throws in the kernel's words; what cannot be mapped as it stands is logged and left out. */
  restore(records: readonly AttachmentRecord[]): void {
    for (const { attachment, ports } of this.#mapped.values()) this.#claims.release(attachment, ports);
    this.#mapped.clear();
    for (const record of records) {
      try {
        const ports = hostPortsOf(record);
        if (ports.length === 0) continue;
        this.#claims.claim(record, ports);
        this.#mapped.set(keyOf(record), { attachment: record, ports });
        this.#allowLoopback(record, ports);
      } catch (error) {
        this.#options.logger.warn(
          { container: record.containerId, pod: record.pod, error: describeError(error) },
          'host ports of a pod cannot be restored',
        );
      }
    }
    if (this.#mapped.size > 0) this.#sync();
    else for (const table of this.#tables) table.drop();
  }

  #sync(): boolean {
    const all = this.#allPorts();
    return this.#tables.map((table) => table.sync(all)).includes(true);
  }

  #unmap(attachment: Attachment): void {
    const mapped = this.#mapped.get(keyOf(attachment));
    if (mapped === undefined) return;
    this.#mapped.delete(keyOf(attachment));
    this.#claims.release(attachment, mapped.ports);
    for (const table of this.#tables) table.remove(mapped.ports, this.#allPorts());
    forgetFlowsToPod(this.#options.conntrack, mapped.ports);
  }

  #allPorts(): HostPort[] {
    return [...this.#mapped.values()].flatMap(({ ports }) => ports);
  }

  /** Packets from 127.0.0.0/8 may leave by the device that leads to the pod, and their answers come in by it. */
  #allowLoopback(record: AttachmentRecord, ports: readonly HostPort[]): void {
    if (!ports.some(({ family }) => family === 4)) return;
    const { kernel } = this.#options;
    const host = kernel.link(record.hostInterface);
    const device = host?.master === undefined ? host : kernel.link(host.master);
    if (device === undefined) {
      throw new FlatnetError(`interface ${record.hostInterface} of container ${record.containerId} is gone`, {
        code: 'ENODEV',
      });
    }
    this.#devices.add(device.name);
    this.#routeLocalnet(device.name);
    this.#watchDevices();
  }

  /**
   * A device that is made anew has the setting no more. Every pod that comes or goes is events to read: they are asked
   * for when the first pod has a host port.
   */
  #watchDevices(): void {
    const signal = this.#running;
    if (this.#watching || signal === undefined || this.#devices.size === 0) return;
    this.#watching = true;
    this.#options.kernel.watch({ groups: ['link'], signal, onEvent: (event) => this.#onLinkEvent(event) });
  }

  #onLinkEvent(event: RouteEvent): void {
    const names =
      event.kind === 'resync' ? [...this.#devices] : event.kind === 'link' ? [event.link.name] : [];
    for (const name of names) {
      if (!this.#devices.has(name)) continue;
      if (event.kind === 'link' && event.action === 'delete') continue;
      try {
        this.#routeLocalnet(name);
      } catch (error) {
        this.#options.logger.warn(
          { device: name, error: describeError(error) },
          'host ports at 127.0.0.1 rest',
        );
      }
    }
  }

  #routeLocalnet(device: string): void {
    const key = `net/ipv4/conf/${device}/route_localnet`;
    const { netns } = this.#options;
    if (readSysctl(key, netns) !== '1') writeSysctl(key, 1, netns);
  }

  #nodeAddresses(): ReadonlySet<string> {
    return new Set(this.#options.kernel.addresses().map(({ ip }) => ip.toString()));
  }
}

/** What the kernel says that has no nf_tables, or none for the family. */
const LACKING = new Set(['EAFNOSUPPORT', 'EOPNOTSUPP', 'EPROTONOSUPPORT']);

function explained(error: unknown): unknown {
  if (!(error instanceof FlatnetError) || !LACKING.has(error.code)) return error;
  return new FlatnetError(`hostPort: the kernel lacks nf_tables (${error.message})`, {
    code: 'KERNEL_LACKS',
    hint: 'modprobe nf_tables, or chain the portmap plugin behind this one (cni.chainedPlugins)',
    cause: error,
  });
}

const keyOf = ({ containerId, ifName }: Attachment): string => `${containerId} ${ifName}`;
