import type { IptablesVariant } from '../../../kernel/iptables/objects.ts';
import type { Ip } from '../../../net/ip.ts';

/** Ports that the proxy may take for itself; both ends belong to it. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What userspace mode needs beside what every mode needs. */
export interface UserspaceSettings {
  /**
   * Where the ports of the proxy are, for the families in which one is given (KubeProxyConfiguration `bindAddress`).
   * Otherwise, and for 0.0.0.0 and `::`, the node's own address.
   */
  readonly bindAddresses?: readonly Ip[];
  /** KubeProxyConfiguration `portRange`; absent: whatever ports are free. */
  readonly portRange?: PortRange;
  /** How long a UDP client stays with its endpoint after its last packet; 250 (`udpIdleTimeout`) when absent. */
  readonly udpIdleTimeoutMs?: number;
  /**
   * `nat`: rules lead connections to ports of the process. `direct`: the process listens at the addresses of Services
   * themselves, for kernels without NAT. `auto`, when absent: `nat` where it can be had.
   */
  readonly redirect?: 'auto' | 'nat' | 'direct';
  /** Which packet filter the rules stand in; found out when absent. */
  readonly iptablesVariant?: IptablesVariant;
}

/** For how long each attempt at an endpoint may last, one after the other (as kube-proxy's userspace mode did). */
export const DIAL_TIMEOUTS_MS: readonly number[] = [250, 500, 1000, 2000];
export const UDP_IDLE_TIMEOUT_MS = 250;
