import type { Protocol } from './services/service-spec.ts';

/** The first packet of a new connection, as it comes to the node. */
export interface TracedPacket {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** Device by which it comes in; undefined: the node itself sends it, from one of its own addresses. */
  readonly inputDevice: string | undefined;
}

/** What a mode does with such a packet. */
export type Verdict =
  | {
      readonly kind: 'endpoints';
      /** `address:port`, `[address]:port`: all that a client without affinity can get; sorted. */
      readonly endpoints: readonly string[];
      /** Those of them that see an address of the node instead of the client's; sorted. */
      readonly masqueraded: readonly string[];
    }
  /** The client is told at once. */
  | { readonly kind: 'reject' }
  | { readonly kind: 'drop' }
  /** Nothing of the proxy's concerns it. */
  | { readonly kind: 'pass' };

/** What a tracer has to know of the node beside what the mode has in the kernel. */
export interface TracedNode {
  /** All addresses of the node, loopback and pod bridge included; not what a mode adds for itself. */
  readonly addresses: readonly string[];
}

/** Tells from the observed state of a (fake or real) kernel what happens to a packet. One for each mode. */
export interface Tracer {
  trace(packet: TracedPacket): Verdict;
}
