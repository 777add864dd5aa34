import type { Fronts, FrontsRequest, OpenFronts } from './fronts.ts';
import type { FrontPorts } from './rules.ts';

/** Ports of a process that has none: for tests that are about rules. */
export class FakeFronts implements Fronts {
  readonly request: FrontsRequest;
  readonly ports: FrontPorts;
  active = 0;
  isClosed = false;

  constructor(request: FrontsRequest, ports: FrontPorts) {
    this.request = request;
    this.ports = ports;
  }

  retire(drained: () => void): void {
    drained();
  }

  close(): void {
    this.isClosed = true;
  }
}

export const FAKE_PORTS: FrontPorts = {
  TCP: { all: 40_001, local: 40_002 },
  UDP: { all: 40_003, local: 40_004 },
};

export function fakeFronts(ports: FrontPorts = FAKE_PORTS): OpenFronts {
  return (request) => Promise.resolve(new FakeFronts(request, ports));
}
