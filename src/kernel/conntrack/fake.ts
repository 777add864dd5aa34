import {
  matchesFilter,
  type ConntrackKernel,
  type Flow,
  type FlowFilter,
  type ReplyLookup,
} from './objects.ts';

/** A connection tracking table in memory, for tests. */
export class FakeConntrack implements ConntrackKernel {
  flows: Flow[] = [];

  list(filter: FlowFilter): Flow[] {
    return this.flows.filter((flow) => matchesFilter(flow, filter));
  }

  findByReply({ family, protocol, reply }: ReplyLookup): Flow | undefined {
    return this.flows.find(
      (flow) =>
        flow.family === family &&
        flow.protocol === protocol &&
        flow.reply.source === reply.source &&
        flow.reply.sourcePort === reply.sourcePort &&
        flow.reply.destination === reply.destination &&
        flow.reply.destinationPort === reply.destinationPort,
    );
  }

  delete(flow: Flow): boolean {
    const before = this.flows.length;
    this.flows = this.flows.filter((other) => other !== flow);
    return this.flows.length < before;
  }

  close(): void {}
}
