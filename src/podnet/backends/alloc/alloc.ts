import type { Backend } from '../backend.ts';
import type { Entry } from '../entry.ts';

/** Addresses only: each node has its pod CIDR, and somebody else (a cloud's routing table) brings packets there. */
export class AllocBackend implements Backend {
  readonly type = 'alloc';
  readonly name = 'alloc';
  readonly tunnelPorts: readonly number[] = [];

  overhead(): number {
    return 0;
  }

  data(): null {
    return null;
  }

  accepts(): boolean {
    return true;
  }

  planNode(): Entry[] {
    return [];
  }

  planPeer(): Entry[] {
    return [];
  }
}
