import { ERRNO, errnoError } from '../libc/errno.ts';
import type { RouteKernel } from '../netlink/route-kernel.ts';
import type {
  WireguardChange,
  WireguardDevice,
  WireguardKernel,
  WireguardPeer,
  WireguardPeerChange,
} from './objects.ts';

/** WireGuard in memory, on the links of a fake of rtnetlink. Handshakes are what a test says there are. */
export class FakeWireguard implements WireguardKernel {
  readonly provider = 'kernel';
  /** Of every call of `configure`: the device, and the names of what was given. */
  readonly calls: string[] = [];
  readonly #route: RouteKernel;
  readonly #devices = new Map<number, WireguardDevice>();

  constructor(route: RouteKernel) {
    this.#route = route;
  }

  device(name: string): WireguardDevice | undefined {
    const link = this.#route.link(name);
    return link === undefined ? undefined : this.#devices.get(link.index);
  }

  create(name: string): void {
    const link = this.#route.addLink({ kind: 'wireguard', name });
    if (link !== undefined)
      this.#devices.set(link.index, { name, publicKey: undefined, listenPort: 0, peers: [] });
  }

  configure(name: string, change: WireguardChange): void {
    this.calls.push(`${name} ${Object.keys(change).join(' ')}`);
    const index = this.#route.link(name)?.index ?? -1;
    const device = this.#devices.get(index);
    if (device === undefined) throw errnoError(`configure WireGuard device ${name}`, ERRNO.ENODEV);
    this.#devices.set(index, {
      ...device,
      publicKey: change.privateKey?.publicKey() ?? device.publicKey,
      listenPort: change.listenPort ?? device.listenPort,
      peers: (change.peers ?? []).reduce(withChange, device.peers),
    });
  }

  /** As if a packet of the peer had arrived. */
  hear(name: string, publicKey: string, endpoint: WireguardPeer['endpoint'], time: number): void {
    const link = this.#route.link(name);
    const device = this.device(name);
    if (link === undefined || device === undefined) return;
    const peers = device.peers.map((peer) =>
      peer.publicKey === publicKey ? { ...peer, endpoint, lastHandshake: time } : peer,
    );
    this.#devices.set(link.index, { ...device, peers });
  }

  close(): void {
    this.#devices.clear();
  }
}

function withChange(peers: readonly WireguardPeer[], change: WireguardPeerChange): WireguardPeer[] {
  const before = peers.find(({ publicKey }) => publicKey === change.publicKey);
  const others = peers.filter((peer) => peer !== before);
  if (change.remove === true) return others;
  const allowed = change.allowed ?? before?.allowed ?? [];
  const peer: WireguardPeer = {
    publicKey: change.publicKey,
    presharedKey:
      change.presharedKey === undefined ? before?.presharedKey : (change.presharedKey ?? undefined),
    endpoint: change.endpoint ?? before?.endpoint,
    allowed,
    keepalive: change.keepalive ?? before?.keepalive ?? 0,
    lastHandshake: before?.lastHandshake,
    rxBytes: before?.rxBytes ?? 0n,
    txBytes: before?.txBytes ?? 0n,
  };
  // A range belongs to one peer only: it moves.
  const rest = others.map((other) => ({
    ...other,
    allowed: other.allowed.filter((range) => !allowed.some((mine) => mine.equals(range))),
  }));
  return [...rest, peer];
}
