import type { Cidr } from '../../net/cidr.ts';
import type { Ip } from '../../net/ip.ts';
import type { SecretKey } from './key.ts';

// The objects of wg(8). Public keys are base64, as wg and flannel write them.

export interface WireguardEndpoint {
  readonly ip: Ip;
  /** UDP. */
  readonly port: number;
}

/** The other end of a tunnel as it is in the kernel. */
export interface WireguardPeer {
  readonly publicKey: string;
  /** Undefined: none is set. */
  readonly presharedKey: SecretKey | undefined;
  /** Where the last authenticated packet came from, else what was set; undefined before either. */
  readonly endpoint: WireguardEndpoint | undefined;
  /** Which inner addresses are the peer's, both ways. */
  readonly allowed: readonly Cidr[];
  /** Seconds; 0: never. */
  readonly keepalive: number;
  /** Milliseconds since 1970; undefined: never. */
  readonly lastHandshake: number | undefined;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
}

export interface WireguardDevice {
  readonly name: string;
  /** Undefined as long as the device has no private key. */
  readonly publicKey: string | undefined;
  /** UDP; 0: none chosen yet. */
  readonly listenPort: number;
  readonly peers: readonly WireguardPeer[];
}

/** What a peer shall be. What is left out stays as it is; a peer that is not there is made. */
export interface WireguardPeerChange {
  readonly publicKey: string;
  /** The peer shall not be there; everything else is then ignored. */
  readonly remove?: boolean;
  /** Null: none. */
  readonly presharedKey?: SecretKey | null;
  readonly endpoint?: WireguardEndpoint;
  readonly keepalive?: number;
  /** All of them; ranges that another peer had move to this one. */
  readonly allowed?: readonly Cidr[];
}

/** What is left out stays as it is: setting even the same port anew would drop packets that are under way. */
export interface WireguardChange {
  readonly privateKey?: SecretKey;
  readonly listenPort?: number;
  readonly peers?: readonly WireguardPeerChange[];
}

/**
 * WireGuard devices of one network namespace. Every call is synchronous and has taken effect when it returns. Errors
 * are FlatnetErrors that name the device. What is like other links (up, MTU, deletion) goes through `RouteKernel`.
 */
export interface WireguardKernel {
  /** Who encrypts: the kernel, or the program wireguard-go with a TUN device. */
  readonly provider: 'kernel' | 'wireguard-go';
  /** Undefined when there is no WireGuard device of that name, or nobody serves it any more. */
  device(name: string): WireguardDevice | undefined;
  /** Makes the device, without a key; it may be up or not. Throws EEXIST where there is a link of that name. */
  create(name: string): void;
  /** All or, where the message would be too long for the kernel, peer by peer. Throws ENODEV. */
  configure(name: string, change: WireguardChange): void;
  close(): void;
}
