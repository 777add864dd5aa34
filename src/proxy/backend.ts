import type { IpFamily } from '../net/ip.ts';
import type { ServicePort, ServicePortChange } from './services/service-port.ts';

export const PROXY_MODES = ['userspace', 'iptables', 'ipvs', 'nftables'] as const;
export type ProxyMode = (typeof PROXY_MODES)[number];

/** A service port that did not get an address or node port, because another one has it. */
export interface ServiceConflict {
  readonly id: string;
  readonly owner: string;
  /** `10.96.0.1 TCP port 80`, `node port TCP 30080`. */
  readonly what: string;
}

export interface SyncReport {
  /** What was changed in the kernel, a line each; made only when somebody wants to print it. */
  readonly describe: () => string[];
  readonly conflicts: readonly ServiceConflict[];
  /** Parts that could not be programmed, although the rest is: by service port or subject, why. */
  readonly failures?: readonly { readonly subject: string; readonly message: string }[];
  /** Rules written, where the mode writes rules for each Service. */
  readonly rules?: {
    readonly written: number;
    readonly total: number;
    /** The same by family and table, where the mode knows it. */
    readonly tables?: readonly RuleCount[];
  };
}

export interface RuleCount {
  readonly family: IpFamily;
  /** `nat`, `filter`. */
  readonly table: string;
  readonly written: number;
  readonly total: number;
}

/** Packets that rules of the iptables mode count, by what kube-proxy's metrics call them. */
export interface PacketCounts {
  /** Dropped, as connection tracking cannot place them. */
  readonly invalidDropped?: number;
  /** Accepted on node ports of the loopback interface. */
  readonly localhostNodePorts?: number;
}

/**
 * Service ports in the kernel, in one of the modes. Calls come one after the other, never two at once. What is in the
 * kernel when it starts is adopted, and stays when it is closed.
 */
export interface ProxyBackend {
  readonly mode: ProxyMode;
  /** Has what does not depend on Services in place. Throws FlatnetError when the kernel cannot serve the mode. */
  prepare(): Promise<void>;
  /** Reads what the kernel holds and brings it to what these service ports need, deleting what they do not. */
  rebuild(ports: Iterable<ServicePort>): Promise<SyncReport>;
  /** Programs what changed, and looks at nothing else. A refusal leaves the last good state; `rebuild` mends it. */
  update(changes: readonly ServicePortChange[]): Promise<SyncReport>;
  /** Whether somebody else changed what this backend has in the kernel. Costs nothing that grows with the cluster. */
  foreignChange(): Promise<boolean>;
  /**
   * Calls back when the kernel tells that somebody may have changed what this backend has there: `foreignChange` is
   * then asked. Absent where the kernel tells nothing. Returns what ends it.
   */
  watch?(changed: () => void): () => void;
  /**
   * Removes everything of this mode from the kernel: for --cleanup, and when another mode has taken over. Connections
   * that are established go on, as long as any chain of type nat of their family is left: without one the kernel
   * translates no more, established or not (nf_nat_unregister_fn in net/netfilter/nf_nat_core.c). With
   * `endConnections` nothing waits for those that the mode itself carries.
   */
  remove(how?: { readonly endConnections?: boolean }): Promise<void>;
  /** Read from the kernel when somebody asks for metrics. */
  packetCounts?(): PacketCounts;
  /** After `remove`: resolves when the last connection that this process itself carries has ended. */
  drained?(): Promise<void>;
  close(): Promise<void>;
}
