import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { runSync } from '../../../kernel/exec/run.ts';
import type { Link } from '../../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import { Netns } from '../../../kernel/netns/netns.ts';
import { DEVICE_ALIAS, indexOf, refuseOtherKind } from '../device.ts';
import type { Entry, UdpLinkEntry } from '../entry.ts';
import type { EntryDriver } from '../entry-driver.ts';
import { PROTOCOL, type WorkerState } from './worker-answer.ts';
import { WorkerClient } from './worker-client.ts';

const START_TIMEOUT_MS = 5_000;
/** <linux/if.h>. */
const IFF_LOWER_UP = 1 << 16;

export interface UdpDriverOptions {
  readonly route: RouteKernel;
  /** The executable flatnet-udp. */
  readonly program: string;
  /** Descriptor of the network namespace; the process's own when absent. */
  readonly netns?: number;
  /** Where the workers' control sockets stand. */
  readonly folder?: string;
}

/**
 * TUN devices, each with a worker that outlives this process, and the workers' peers. A worker is found by its control
 * socket, which is named after the network namespace too: nodes that share a file system do not meet.
 */
export class UdpDriver implements EntryDriver {
  readonly #options: UdpDriverOptions;
  readonly #clients = new Map<string, WorkerClient>();

  constructor(options: UdpDriverOptions) {
    this.#options = options;
  }

  handles(entry: Entry): boolean {
    return entry.kind === 'udp-peer' || (entry.kind === 'link' && entry.type === 'udp');
  }

  observe(wantedDevices: ReadonlySet<string>): Entry[] {
    return this.#options.route
      .links()
      .filter(
        ({ kind, alias, name }) => kind === 'tun' && (alias === DEVICE_ALIAS || wantedDevices.has(name)),
      )
      .flatMap((link) => this.#observeDevice(link));
  }

  put(entry: Entry): void {
    if (entry.kind === 'udp-peer') this.#client(entry.device).set(entry);
    else if (entry.kind === 'link' && entry.type === 'udp') this.#putLink(entry);
  }

  remove(entry: Entry): void {
    if (entry.kind === 'udp-peer') this.#client(entry.device).delete(entry.podCidr);
    else if (entry.kind === 'link') {
      this.#client(entry.device).end('remove');
      this.#clients.delete(entry.device);
      // Left by a worker that died before.
      const left = this.#options.route.link(entry.device);
      if (left !== undefined) this.#options.route.deleteLink(left.index);
    }
  }

  /** Ends the connections, not the workers. */
  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  #observeDevice(link: Link): Entry[] {
    const client = this.#client(link.name);
    const state = heardFrom(client);
    if (state === undefined || state.device !== link.name) return [];
    const entries: Entry[] = [];
    const { local, port, protocol } = state;
    const serves = link.up && (link.flags & IFF_LOWER_UP) !== 0 && protocol === PROTOCOL;
    if (serves && link.alias === DEVICE_ALIAS) {
      entries.push({ kind: 'link', type: 'udp', device: link.name, mtu: link.mtu, port, local });
    }
    for (const peer of client.list()) entries.push({ kind: 'udp-peer', device: link.name, ...peer });
    return entries;
  }

  #putLink(entry: UdpLinkEntry): void {
    const { route } = this.#options;
    const client = this.#client(entry.device);
    const state = client.show();
    if (state === undefined) this.#start(entry);
    else if (!isAs(state, entry)) {
      // The routes stay with the device where it can be kept; the peers come from the plan.
      client.end(state.device === entry.device ? 'stop' : 'remove');
      this.#start(entry);
    }
    const { device, mtu } = entry;
    route.changeLink(indexOf(route, device), { mtu, alias: DEVICE_ALIAS, up: true });
  }

  #start({ device, local, port }: UdpLinkEntry): void {
    const { route, program, netns } = this.#options;
    const existing = route.link(device);
    if (existing !== undefined) refuseOtherKind(existing, 'tun', '');
    const path = this.#socketPath(device);
    mkdirSync(this.#folder, { recursive: true, mode: 0o755 });
    runSync(program, [device, local.toString(), String(port), path], {
      timeoutMs: START_TIMEOUT_MS,
      env: {},
      ...(netns === undefined ? {} : { netns }),
    });
  }

  #client(device: string): WorkerClient {
    let client = this.#clients.get(device);
    if (client === undefined) {
      client = new WorkerClient(this.#socketPath(device));
      this.#clients.set(device, client);
    }
    return client;
  }

  #socketPath(device: string): string {
    const { netns } = this.#options;
    const opened = netns === undefined ? Netns.current() : Netns.open(`/proc/self/fd/${netns}`);
    opened.close();
    return join(this.#folder, `udp-${device}-${opened.inode}.sock`);
  }

  get #folder(): string {
    return this.#options.folder ?? '/run/flatnet';
  }
}

/** One that does not answer counts as none, so that all else is put right; making its device then tells. */
function heardFrom(client: WorkerClient): WorkerState | undefined {
  try {
    return client.show();
  } catch (error) {
    if (error instanceof FlatnetError && error.code === 'UDP_WORKER_SILENT') return undefined;
    throw error;
  }
}

const isAs = (state: WorkerState, entry: UdpLinkEntry): boolean =>
  state.protocol === PROTOCOL &&
  state.device === entry.device &&
  state.port === entry.port &&
  state.local.equals(entry.local);
