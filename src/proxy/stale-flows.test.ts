import { beforeEach, expect, test } from 'vitest';
import { FakeConntrack } from '../kernel/conntrack/fake.ts';
import type { Flow, FlowFilter } from '../kernel/conntrack/objects.ts';
import type { ServicePort } from './services/service-port.ts';
import { StaleFlows } from './stale-flows.ts';

const UDP = 17;
const NODE = '10.250.0.1';

class CountingConntrack extends FakeConntrack {
  readonly filters: FlowFilter[] = [];

  override list(filter: FlowFilter): Flow[] {
    this.filters.push(filter);
    return super.list(filter);
  }
}

let conntrack: CountingConntrack;
let serving: Map<string, string[]>;
let flows: StaleFlows;

beforeEach(() => {
  conntrack = new CountingConntrack();
  serving = new Map();
  flows = new StaleFlows({
    conntrack,
    servingEndpoints: ({ id }) => new Set(serving.get(id)),
    nodeAddresses: () => new Set([NODE]),
  });
});

function udp(destination: string, port: number, reached: string, sourcePort = 4000): Flow {
  const at = reached.lastIndexOf(':');
  const flow: Flow = {
    family: destination.includes(':') ? 6 : 4,
    protocol: UDP,
    original: { source: '10.244.1.9', sourcePort, destination, destinationPort: port },
    reply: {
      source: reached.slice(0, at).replace(/[[\]]/g, ''),
      sourcePort: Number(reached.slice(at + 1)),
      destination: '10.244.1.9',
      destinationPort: sourcePort,
    },
    id: undefined,
  };
  conntrack.flows.push(flow);
  return flow;
}

const DNS = 'kube-system/dns:53/UDP/4';

function set(id: string, endpoints: string[], part: Partial<ServicePort> = {}): void {
  serving.set(id, endpoints);
  flows.set(id, {
    id,
    service: id.slice(0, id.indexOf(':')),
    portName: '',
    family: id.endsWith('6') ? 6 : 4,
    protocol: 'UDP',
    address: '10.96.0.10',
    port: 53,
    nodePort: 0,
    externalIps: [],
    loadBalancerIps: [],
    sourceRanges: undefined,
    internalLocal: false,
    externalLocal: false,
    healthCheckNodePort: 0,
    affinitySeconds: 0,
    endpoints: [],
    localEndpoints: [],
    hasEndpoints: true,
    ...part,
  });
}

const left = (): string[] => conntrack.flows.map(({ reply }) => `${reply.source}:${reply.sourcePort}`);
const deleted = (reports: readonly { deleted: number }[]): number =>
  reports.reduce((sum, report) => sum + report.deleted, 0);

test('flows to an endpoint that is gone are deleted, those to others stay', () => {
  set(DNS, ['10.244.0.1:53', '10.244.0.2:53']);
  flows.clean();
  udp('10.96.0.10', 53, '10.244.0.1:53', 1);
  udp('10.96.0.10', 53, '10.244.0.2:53', 2);
  // Not the Service's: what else goes to that pod.
  udp('10.244.0.1', 53, '10.244.0.1:53', 3);
  set(DNS, ['10.244.0.2:53']);
  expect(deleted(flows.clean())).toBe(1);
  expect(left()).toEqual(['10.244.0.2:53', '10.244.0.1:53']);
});

test('an endpoint that keeps its address but not its port is gone too', () => {
  set(DNS, ['10.244.0.1:53']);
  flows.clean();
  udp('10.96.0.10', 53, '10.244.0.1:53');
  set(DNS, ['10.244.0.1:5353']);
  flows.clean();
  expect(left()).toEqual([]);
});

test('what a Service without endpoints sent nowhere is deleted when it gets its first', () => {
  set(DNS, []);
  flows.clean();
  udp('10.96.0.10', 53, '10.96.0.10:53');
  set(DNS, ['10.244.0.1:53']);
  flows.clean();
  expect(left()).toEqual([]);
});

test('the last endpoint takes its flows with it, so that clients are refused', () => {
  set(DNS, ['10.244.0.1:53']);
  flows.clean();
  udp('10.96.0.10', 53, '10.244.0.1:53');
  set(DNS, []);
  flows.clean();
  expect(left()).toEqual([]);
});

test.each(['192.0.2.1', '198.51.100.1', NODE])('flows by %s are followed as well', (address) => {
  const part = { externalIps: ['192.0.2.1'], loadBalancerIps: ['198.51.100.1'], nodePort: 30053 };
  set(DNS, ['10.244.0.1:53', '10.244.0.2:53'], part);
  flows.clean();
  const port = address === NODE ? 30053 : 53;
  udp(address, port, '10.244.0.1:53', 1);
  udp(address, port, '10.244.0.2:53', 2);
  // Somebody else's port of that number.
  udp('203.0.113.1', 30053, '203.0.113.1:30053', 3);
  set(DNS, ['10.244.0.2:53'], part);
  flows.clean();
  expect(left()).toEqual(['10.244.0.2:53', '203.0.113.1:30053']);
});

test('a Service that is gone, or has lost an address, takes what was translated for it', () => {
  set(DNS, ['10.244.0.1:53'], { externalIps: ['192.0.2.1'] });
  flows.clean();
  udp('10.96.0.10', 53, '10.244.0.1:53', 1);
  udp('192.0.2.1', 53, '10.244.0.1:53', 2);
  udp('192.0.2.1', 53, '192.0.2.1:53', 3);
  set(DNS, ['10.244.0.1:53']);
  flows.clean();
  expect(left()).toEqual(['10.244.0.1:53', '192.0.2.1:53']);
  flows.set(DNS, undefined);
  flows.clean();
  expect(left()).toEqual(['192.0.2.1:53']);
});

test('families are kept apart', () => {
  const six = 'kube-system/dns:53/UDP/6';
  set(DNS, ['10.244.0.1:53']);
  set(six, ['[fd00::1]:53'], { address: 'fd00:96::a' });
  flows.clean();
  udp('10.96.0.10', 53, '10.244.0.1:53', 1);
  udp('fd00:96::a', 53, '[fd00::1]:53', 2);
  set(six, ['[fd00::2]:53'], { address: 'fd00:96::a' });
  expect(flows.clean()).toMatchObject([{ family: 6, deleted: 1 }]);
  expect(left()).toEqual(['10.244.0.1:53']);
});

test('TCP, and changes that take no endpoint away, cost no look at the table', () => {
  set('shop/web:80/TCP/4', ['10.244.0.1:80'], { protocol: 'TCP' });
  set(DNS, ['10.244.0.1:53']);
  flows.clean();
  conntrack.filters.length = 0;
  set('shop/web:80/TCP/4', [], { protocol: 'TCP' });
  set(DNS, ['10.244.0.1:53', '10.244.0.2:53']);
  expect(flows.clean()).toEqual([]);
  expect(conntrack.filters).toEqual([]);
});

test('few changes are looked up one by one, many with one look at the whole table', () => {
  const ids = Array.from({ length: 20 }, (_, n) => `shop/u${n}:53/UDP/4`);
  for (const [n, id] of ids.entries()) set(id, ['10.244.0.1:53'], { address: `10.96.1.${n}` });
  flows.clean();
  conntrack.filters.length = 0;
  set(ids[0] ?? '', [], { address: '10.96.1.0' });
  flows.clean();
  expect(conntrack.filters).toEqual([
    { family: 4, protocol: UDP, destination: '10.96.1.0', destinationPort: 53 },
  ]);
  conntrack.filters.length = 0;
  for (const [n, id] of ids.entries()) set(id, ['10.244.0.9:53'], { address: `10.96.1.${n}` });
  flows.clean();
  expect(conntrack.filters).toEqual([{ family: 4, protocol: UDP }]);
});

test('the first sync looks at everything: endpoints may have gone while nobody was there', () => {
  udp('10.96.0.10', 53, '10.244.0.7:53', 1);
  udp('10.96.0.10', 53, '10.244.0.1:53', 2);
  udp('10.96.0.99', 53, '10.244.0.7:53', 3);
  flows.reset();
  set(DNS, ['10.244.0.1:53']);
  expect(deleted(flows.cleanAll([4, 6]))).toBe(1);
  expect(left()).toEqual(['10.244.0.1:53', '10.244.0.7:53']);
});

test('without UDP Services the table is not looked at', () => {
  expect(flows.cleanAll([4, 6])).toEqual([]);
  expect(conntrack.filters).toEqual([]);
});
