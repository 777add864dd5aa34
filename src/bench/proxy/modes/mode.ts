import type { ProxyMode } from '../../../proxy/backend.ts';
import type { BenchCluster, Change, ChangeKind } from '../bench-cluster.ts';
import type { BenchNetwork } from '../bench-network.ts';

/** What differs from mode to mode: how the kernel is asked what it holds. */
export interface BenchMode {
  readonly name: string;
  /** As the proxy calls it. */
  readonly proxyMode: ProxyMode;
  /** The changes that are measured, by turns: those that `awaitChange` can see. */
  readonly changes: readonly ChangeKind[];
  /** `answer`: a connection is counted until a byte came back, as the proxy accepts before it reaches an endpoint. */
  readonly connection: 'handshake' | 'answer';
  /** What the node has before the proxy starts. */
  readonly prepareNode?: (network: BenchNetwork) => Promise<void>;
  readonly view: (network: BenchNetwork) => KernelView | Promise<KernelView>;
}

/** The kernel of the node, seen from outside the proxy. */
export interface KernelView {
  /** Called before the change is sent. */
  readonly expectChange?: (change: Change) => void | Promise<void>;
  /**
   * Returns when the kernel holds the change; blocks rather than turns, so that it takes no CPU from what is measured.
   * Throws ETIMEDOUT.
   */
  readonly awaitChange: (change: Change) => void | Promise<void>;
  /** Reads back all that the kernel holds; throws BENCH_WRONG_RESULT when it is not what the cluster asks for. */
  readonly verify: (cluster: BenchCluster) => void | Promise<void>;
  readonly close: () => void | Promise<void>;
}
