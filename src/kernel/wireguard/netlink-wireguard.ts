import { FlatnetError } from '../../errors/flatnet-error.ts';
import { findGenericFamily, NETLINK_GENERIC } from '../netlink/generic.ts';
import type { RouteKernel } from '../netlink/route-kernel.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { decodeDevice, encodeGetDevice, encodeSetDevice, WIREGUARD_FAMILY } from './netlink-codec.ts';
import type { WireguardChange, WireguardDevice, WireguardKernel, WireguardPeerChange } from './objects.ts';
import { portTaken } from './port-taken.ts';

/** Peers of one message: with a few ranges each, far from the 64 KiB that an attribute can have. */
const PEERS_PER_MESSAGE = 100;

/** Devices of the kernel (the module wireguard, Linux 5.6) over generic netlink. */
export class NetlinkWireguard implements WireguardKernel {
  readonly provider = 'kernel';
  readonly #socket: NetlinkSocket;
  readonly #family: number;
  readonly #route: RouteKernel;

  private constructor(socket: NetlinkSocket, family: number, route: RouteKernel) {
    this.#socket = socket;
    this.#family = family;
    this.#route = route;
  }

  /**
   * `route` makes the devices, of the same network namespace as `netns` (the caller's own when absent). Undefined where
   * the kernel has no WireGuard and could not load it.
   */
  static open(route: RouteKernel, netns?: number): NetlinkWireguard | undefined {
    const socket = NetlinkSocket.open(NETLINK_GENERIC, netns === undefined ? {} : { netns });
    try {
      const family = findGenericFamily(socket, WIREGUARD_FAMILY);
      if (family !== undefined) return new NetlinkWireguard(socket, family, route);
    } catch (error) {
      socket.close();
      throw error;
    }
    socket.close();
    return undefined;
  }

  device(name: string): WireguardDevice | undefined {
    const request = { type: this.#family, body: encodeGetDevice(name) };
    try {
      const messages = this.#socket.dump(request, `read WireGuard device ${name}`);
      return decodeDevice(
        name,
        messages.map(({ body }) => body),
      );
    } catch (error) {
      // EOPNOTSUPP: a link of another kind.
      const absent = ['ENODEV', 'EOPNOTSUPP'];
      if (error instanceof FlatnetError && absent.includes(error.code)) return undefined;
      throw error;
    }
  }

  create(name: string): void {
    this.#route.addLink({ kind: 'wireguard', name });
  }

  configure(name: string, change: WireguardChange): void {
    const { peers = [], ...own } = change;
    const doing = `configure WireGuard device ${name}`;
    if (Object.keys(own).length > 0) this.#set(name, own, doing);
    for (let from = 0; from < peers.length; from += PEERS_PER_MESSAGE) {
      this.#set(name, { peers: peers.slice(from, from + PEERS_PER_MESSAGE) }, `${doing} (${keys(peers)})`);
    }
  }

  close(): void {
    this.#socket.close();
  }

  #set(name: string, change: WireguardChange, doing: string): void {
    try {
      this.#socket.request({ type: this.#family, body: encodeSetDevice(name, change) }, doing);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'EADDRINUSE') throw portTaken(name);
      throw error;
    }
  }
}

function keys(peers: readonly WireguardPeerChange[]): string {
  const [first] = peers;
  const more = peers.length > 1 ? ` and ${peers.length - 1} more` : '';
  return `peer ${first?.publicKey ?? ''}${more}`;
}
