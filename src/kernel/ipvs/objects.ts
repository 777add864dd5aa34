import type { FlatnetError } from '../../errors/flatnet-error.ts';

// The objects of ipvsadm(8).

/** In the order of the kernel's own documentation; each is a module `ip_vs_NAME`. */
export const SCHEDULERS = [
  'rr',
  'wrr',
  'lc',
  'wlc',
  'lblc',
  'lblcr',
  'sh',
  'dh',
  'sed',
  'nq',
  'mh',
  'fo',
  'ovf',
] as const;
export type Scheduler = (typeof SCHEDULERS)[number];

/** Bits of `VirtualServer.flags` (linux/ip_vs.h). */
export const SERVER_FLAGS = {
  /** A client stays with its real server for `timeoutSeconds`. */
  persistent: 0x1,
  /** UDP: every packet is balanced by itself. */
  onePacket: 0x4,
  /** Scheduler sh: another real server where the one found has weight 0. */
  shFallback: 0x8,
  /** Scheduler sh: the client's port counts too. */
  shPort: 0x10,
  mhFallback: 0x8,
  mhPort: 0x10,
} as const;
/** IP_VS_SVC_F_HASHED: the kernel's own mark. */
export const HASHED = 0x2;

export type IpvsProtocol = 'TCP' | 'UDP' | 'SCTP';

/** What names a virtual server. IPv4 or IPv6 is told by the address. */
export interface VirtualServerKey {
  readonly protocol: IpvsProtocol;
  readonly address: string;
  readonly port: number;
}

export interface VirtualServer extends VirtualServerKey {
  /** One of SCHEDULERS, or of another module of the machine's. */
  readonly scheduler: string;
  /** SERVER_FLAGS. */
  readonly flags: number;
  /** How long a client stays with its real server, where the flag persistent is set. */
  readonly timeoutSeconds: number;
  /** Clients whose addresses have so many bits in common count as one: 1 to 32, 1 to 128. */
  readonly clientPrefixLength: number;
}

export interface RealServerKey {
  readonly address: string;
  readonly port: number;
}

/** How packets reach a real server (IP_VS_CONN_F_FWD_MASK); masquerade is NAT. */
export const FORWARDING = ['masquerade', 'local', 'tunnel', 'direct', 'bypass'] as const;
type Forwarding = (typeof FORWARDING)[number];

export interface RealServer extends RealServerKey {
  /** Its share of new connections; 0: none, but those that it has go on. */
  readonly weight: number;
  readonly forwarding: Forwarding;
  /** No new connections at so many; 0: no limit. */
  readonly upperThreshold: number;
  /** After the upper threshold was reached: again at so few. */
  readonly lowerThreshold: number;
}

export interface ObservedRealServer extends RealServer {
  /** Established ones. */
  readonly activeConnections: number;
  /** Connections that are not established any more or not yet; every flow of UDP. */
  readonly inactiveConnections: number;
  readonly persistentConnections: number;
}

export type IpvsChange =
  | { readonly operation: 'add-server' | 'set-server'; readonly server: VirtualServer }
  | { readonly operation: 'delete-server'; readonly server: VirtualServerKey }
  | {
      readonly operation: 'add-destination' | 'set-destination';
      readonly server: VirtualServerKey;
      readonly destination: RealServer;
    }
  | {
      readonly operation: 'delete-destination';
      readonly server: VirtualServerKey;
      readonly destination: RealServerKey;
    };

export interface IpvsRefusal {
  readonly change: IpvsChange;
  readonly error: FlatnetError;
}

/** After so many idle seconds the kernel forgets a connection. */
export interface IpvsTimeouts {
  readonly tcp: number;
  /** After a FIN. */
  readonly tcpFin: number;
  readonly udp: number;
}

export interface IpvsInfo {
  /** `1.2.1`. */
  readonly version: string;
  /** Buckets of the table of connections. */
  readonly connectionTableSize: number;
}

/** IPVS of one network namespace. Calls are synchronous; errors are FlatnetErrors with the kernel's errno name. */
export interface IpvsKernel {
  /** All but those that are named by a firewall mark. */
  virtualServers(): VirtualServer[];
  /** How many there are, those that are named by a firewall mark included. */
  countServers(): number;
  virtualServer(key: VirtualServerKey): VirtualServer | undefined;
  /** Empty where there is no such virtual server. */
  realServers(server: VirtualServerKey): ObservedRealServer[];
  /** Makes the changes in their order, each by itself; returns those that the kernel refused. */
  apply(changes: readonly IpvsChange[]): IpvsRefusal[];
  timeouts(): IpvsTimeouts;
  /** Those that are absent or 0 stay as they are. */
  setTimeouts(timeouts: Partial<IpvsTimeouts>): void;
  info(): IpvsInfo;
  /** Deletes all virtual servers, those with firewall marks too. */
  flush(): void;
  close(): void;
}

/** `TCP 10.96.0.1:80`, `UDP [fd00::1]:53`: the same for the same virtual server. */
export function serverText({ protocol, address, port }: VirtualServerKey): string {
  return `${protocol} ${socketText(address, port)}`;
}

/** `10.244.0.2:8080`, `[fd00::2]:8080`. */
export function realServerText({ address, port }: RealServerKey): string {
  return socketText(address, port);
}

/** One line for a change, as a log or a dry run prints it. */
export function describeIpvsChange(change: IpvsChange): string {
  const server = serverText(change.server);
  switch (change.operation) {
    case 'add-server':
    case 'set-server': {
      const { scheduler, flags, timeoutSeconds } = change.server;
      const sign = change.operation === 'add-server' ? '+' : '~';
      const persistent = (flags & SERVER_FLAGS.persistent) === 0 ? '' : ` persistent ${timeoutSeconds}`;
      return `${sign} ${server} ${scheduler}${persistent}`;
    }
    case 'delete-server':
      return `- ${server}`;
    case 'add-destination':
    case 'set-destination': {
      const sign = change.operation === 'add-destination' ? '+' : '~';
      return `${sign} ${server} -> ${realServerText(change.destination)} weight ${change.destination.weight}`;
    }
    case 'delete-destination':
      return `- ${server} -> ${realServerText(change.destination)}`;
  }
  return change satisfies never;
}

function socketText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}
