import type { BackendJson } from './backends/write-settings.ts';

/** What a node tells of itself beside flannel's format: for planning a change, and for the smallest MTU of all. */
export interface NodeAbout {
  /** Of the interface that carries the cluster, and why it was taken. */
  readonly device: string;
  readonly reason: string;
  /** Whether it sends to every other node by the first of its backends: the others do not wait for it any more. */
  readonly met: boolean;
  /** Bytes, before any encapsulation. */
  readonly mtu: number;
  /** What is reached without a router, in CIDR notation. */
  readonly subnets: readonly string[];
  /** The wanted one first. */
  readonly backends: readonly BackendJson[];
}
