import { matchesFilter, type ConntrackKernel, type Flow, type FlowFilter } from './objects.ts';

/** A connection tracking table in memory, for tests. */
export class FakeConntrack implements ConntrackKernel {
  flows: Flow[] = [];

  list(filter: FlowFilter): Flow[] {
    return this.flows.filter((flow) => matchesFilter(flow, filter));
  }

  delete(flow: Flow): boolean {
    const before = this.flows.length;
    this.flows = this.flows.filter((other) => other !== flow);
    return this.flows.length < before;
  }

  close(): void {}
}
