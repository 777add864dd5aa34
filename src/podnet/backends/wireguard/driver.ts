import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Link } from '../../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../kernel/netlink/route-kernel.ts';
import type { SecretKey } from '../../../kernel/wireguard/key.ts';
import type {
  WireguardChange,
  WireguardKernel,
  WireguardPeer,
  WireguardPeerChange,
} from '../../../kernel/wireguard/objects.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { Entry, WireguardLinkEntry, WireguardPeerEntry } from '../entry.ts';
import type { EntryDriver } from '../entry-driver.ts';
import { DEVICE_ALIAS } from '../device.ts';

/** REJECT_AFTER_TIME of the WireGuard protocol: so long at most after its handshake a session is alive. */
const SESSION_MS = 180_000;

const UNHEARD: Omit<WireguardPeer, 'publicKey'> = {
  presharedKey: undefined,
  endpoint: undefined,
  allowed: [],
  keepalive: 0,
  lastHandshake: undefined,
  rxBytes: 0n,
  txBytes: 0n,
};

export interface WireguardDriverOptions {
  readonly wireguard: WireguardKernel;
  /** Of the same network namespace. */
  readonly route: RouteKernel;
  readonly privateKey: SecretKey;
  readonly presharedKey: SecretKey | undefined;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/**
 * WireGuard devices and their peers. Where a peer's packets come from another address than was set (it is behind NAT,
 * or has moved), WireGuard answers there; as long as its session lives, that is left so and counts as what was set.
 */
export class WireguardDriver implements EntryDriver {
  /** Nobody tells when a peer is changed. */
  readonly verifyMs = 4_000;
  readonly #options: WireguardDriverOptions;
  /** As they were when last observed, by `peerKey`. */
  readonly #seen = new Map<string, WireguardPeer>();
  /** What this process has asked for, or has found and adopted, by `peerKey`. */
  readonly #asked = new Map<string, WireguardPeerEntry>();

  constructor(options: WireguardDriverOptions) {
    this.#options = options;
  }

  handles(entry: Entry): boolean {
    return entry.kind === 'wireguard-peer' || (entry.kind === 'link' && entry.type === 'wireguard');
  }

  observe(wantedDevices: ReadonlySet<string>): Entry[] {
    this.#seen.clear();
    return this.#options.route
      .links()
      .filter((link) => link.alias === DEVICE_ALIAS || wantedDevices.has(link.name))
      .filter(({ kind }) => kind === 'wireguard' || kind === 'tun')
      .flatMap((link) => this.#observeDevice(link));
  }

  put(entry: Entry): void {
    if (entry.kind === 'wireguard-peer') this.#putPeer(entry);
    else if (entry.kind === 'link' && entry.type === 'wireguard') this.#putLink(entry);
  }

  remove(entry: Entry): void {
    const { route, wireguard } = this.#options;
    try {
      if (entry.kind === 'link') {
        const link = route.link(entry.device);
        // wireguard-go ends when its device goes.
        if (link !== undefined) route.deleteLink(link.index);
        this.#forgetDevice(entry.device);
      } else if (entry.kind === 'wireguard-peer') {
        this.#asked.delete(peerKey(entry.device, entry.publicKey));
        wireguard.configure(entry.device, { peers: [{ publicKey: entry.publicKey, remove: true }] });
      }
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
    }
  }

  #observeDevice(link: Link): Entry[] {
    const device = this.#options.wireguard.device(link.name);
    if (device === undefined) return [];
    const { name, publicKey, listenPort: port, peers } = device;
    const entries: Entry[] = [];
    if (publicKey !== undefined && link.up && link.alias === DEVICE_ALIAS) {
      entries.push({ kind: 'link', type: 'wireguard', device: name, mtu: link.mtu, port, publicKey });
    }
    for (const peer of peers) entries.push(...this.#observePeer(name, peer));
    return entries;
  }

  #observePeer(device: string, peer: WireguardPeer): Entry[] {
    const key = peerKey(device, peer.publicKey);
    this.#seen.set(key, peer);
    const asked = this.#asked.get(key);
    const current = asked !== undefined && this.#isAlive(peer) ? asked : undefined;
    const endpoint = current?.endpoint ?? peer.endpoint?.ip;
    if (endpoint === undefined) return [];
    return [
      {
        kind: 'wireguard-peer',
        device,
        publicKey: peer.publicKey,
        endpoint,
        port: current?.port ?? peer.endpoint?.port ?? 0,
        // Entries do not show the preshared key: without ranges it is none that anybody wants, and is put right.
        allowed: this.#hasPresharedKey(peer) ? inOrder(peer.allowed) : [],
        keepalive: peer.keepalive,
      },
    ];
  }

  #putLink(entry: WireguardLinkEntry): void {
    const { route, wireguard, privateKey } = this.#options;
    const { device: name } = entry;
    let device = wireguard.device(name);
    const existing = route.link(name);
    if (device === undefined) {
      if (existing !== undefined) this.#makeRoom(existing);
      this.#forgetDevice(name);
      wireguard.create(name);
      device = wireguard.device(name);
    }
    const link = route.link(name);
    if (link !== undefined) route.changeLink(link.index, { mtu: entry.mtu, alias: DEVICE_ALIAS, up: true });
    const change: WireguardChange = {
      ...(device?.publicKey === entry.publicKey ? {} : { privateKey }),
      ...(device?.listenPort === entry.port ? {} : { listenPort: entry.port }),
    };
    if (Object.keys(change).length > 0) wireguard.configure(name, change);
  }

  /** A device that nobody serves, or that was wireguard-go's before the kernel had WireGuard. */
  #makeRoom(link: Link): void {
    if (link.alias !== DEVICE_ALIAS) {
      throw new FlatnetError(`device ${link.name} exists and is not a WireGuard device`, {
        code: 'DEVICE_NAME_TAKEN',
        hint: `remove it: ip link delete ${link.name}`,
      });
    }
    this.#options.route.deleteLink(link.index);
  }

  #putPeer(entry: WireguardPeerEntry): void {
    const { device, publicKey } = entry;
    const key = peerKey(device, publicKey);
    const seen = this.#seen.get(key);
    const change = this.#changeOf(entry, seen);
    // Of the time before this process: where the peer is reached now is as good as where it says it is.
    const isAdopted = seen !== undefined && !this.#asked.has(key) && this.#isAlive(seen);
    const { endpoint: _, ...rest } = change;
    const needed = isAdopted ? rest : change;
    if (Object.keys(needed).length > 1) this.#options.wireguard.configure(device, { peers: [needed] });
    this.#asked.set(key, entry);
    this.#seen.set(key, { ...(seen ?? UNHEARD), ...needed, presharedKey: this.#options.presharedKey });
  }

  /** Only what is not so already: ranges that are set anew would be nobody's for a moment. */
  #changeOf(entry: WireguardPeerEntry, seen: WireguardPeer | undefined): WireguardPeerChange {
    const { publicKey, endpoint: ip, port, keepalive, allowed } = entry;
    const isThere = seen?.endpoint?.ip.equals(ip) === true && seen.endpoint.port === port;
    const hasRanges = seen !== undefined && sameRanges(seen.allowed, allowed);
    return {
      publicKey,
      ...(isThere ? {} : { endpoint: { ip, port } }),
      ...(hasRanges ? {} : { allowed }),
      ...(seen?.keepalive === keepalive ? {} : { keepalive }),
      ...(seen !== undefined && this.#hasPresharedKey(seen)
        ? {}
        : { presharedKey: this.#options.presharedKey ?? null }),
    };
  }

  #hasPresharedKey({ presharedKey: found }: WireguardPeer): boolean {
    const { presharedKey: wanted } = this.#options;
    if (wanted === undefined || found === undefined) return wanted === found;
    return wanted.equals(found);
  }

  #isAlive({ lastHandshake }: WireguardPeer): boolean {
    const now = this.#options.now?.() ?? Date.now();
    return lastHandshake !== undefined && now - lastHandshake < SESSION_MS;
  }

  #forgetDevice(device: string): void {
    for (const map of [this.#asked, this.#seen])
      for (const key of map.keys()) if (key.startsWith(peerKey(device, ''))) map.delete(key);
  }
}

const peerKey = (device: string, publicKey: string): string => `${device} ${publicKey}`;

/** IPv4 first, as plans have them. */
function inOrder(ranges: readonly Cidr[]): Cidr[] {
  return [...ranges].sort((a, b) => a.family - b.family || (a.ip.value < b.ip.value ? -1 : 1));
}

const sameRanges = (a: readonly Cidr[], b: readonly Cidr[]): boolean =>
  inOrder(a).map(String).join() === inOrder(b).map(String).join();
