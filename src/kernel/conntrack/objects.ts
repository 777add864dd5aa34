import type { IpFamily } from '../../net/ip.ts';

/** One direction of a connection that has ports. */
export interface FlowTuple {
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** An entry of the connection tracking table; for protocols with ports. */
export interface Flow {
  readonly family: IpFamily;
  /** IANA number: 6, 17, 132. */
  readonly protocol: number;
  /** As the first packet came, before any translation. */
  readonly original: FlowTuple;
  /** What answers are expected to look like: `source` is where the connection really went. */
  readonly reply: FlowTuple;
  /** CTA_ID, so that a later connection with the same tuple is not taken for this one; undefined: not told. */
  readonly id: number | undefined;
}

export interface FlowFilter {
  readonly family: IpFamily;
  readonly protocol: number;
  /** Original destination. */
  readonly destination?: string;
  readonly destinationPort?: number;
}

/** What answers to a connection look like; there is at most one such connection. */
export type ReplyLookup = Pick<Flow, 'family' | 'protocol' | 'reply'>;

/** The connection tracking table of one network namespace; a real one (ConntrackSocket) and a fake. */
export interface ConntrackKernel {
  list(filter: FlowFilter): Flow[];
  /** Costs the same however many there are. */
  findByReply(lookup: ReplyLookup): Flow | undefined;
  /** True when it was there. */
  delete(flow: Flow): boolean;
  close(): void;
}

export function matchesFilter(flow: Flow, filter: FlowFilter): boolean {
  return (
    flow.family === filter.family &&
    flow.protocol === filter.protocol &&
    (filter.destination === undefined || flow.original.destination === filter.destination) &&
    (filter.destinationPort === undefined || flow.original.destinationPort === filter.destinationPort)
  );
}
