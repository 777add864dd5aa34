import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { RecordType } from './record.ts';
import type { Transport } from './response-codec.ts';

/** Sixteen buckets from 0.25 ms, each twice the one before, as CoreDNS has them. */
const SECONDS = Array.from({ length: 16 }, (_, i) => 0.00025 * 2 ** i);
const OCTETS = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000];
const TYPE_NAMES = new Map<number, string>([
  ...Object.entries(RecordType).map(([name, type]) => [type, name] as const),
  [15, 'MX'],
  [43, 'DS'],
  [65, 'HTTPS'],
]);
const RCODE_NAMES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];

export interface AnsweredRequest {
  /** The zone that answered, `.` for what was forwarded, `dropped` for what could not be read. */
  readonly zone: string;
  readonly transport: Transport;
  readonly family: 4 | 6;
  readonly type: number;
  readonly rcode: number;
  readonly dnssecOk: boolean;
  readonly requestBytes: number;
  readonly responseBytes: number;
  readonly seconds: number;
}

/** Counts under CoreDNS's names and labels, so that its dashboards and alerts work unchanged. */
export class DnsMetrics {
  readonly registry = new Registry();
  readonly #server: string;
  readonly #requests = this.#counter(
    'dns_requests_total',
    'Counter of DNS requests made per zone, protocol and family.',
    ['server', 'zone', 'view', 'proto', 'family', 'type'],
  );
  readonly #responses = this.#counter('dns_responses_total', 'Counter of response status codes.', [
    'server',
    'zone',
    'view',
    'rcode',
    'plugin',
  ]);
  readonly #dnssecOk = this.#counter(
    'dns_do_requests_total',
    'Counter of DNS requests with DO bit set per zone.',
    ['server', 'zone', 'view'],
  );
  readonly #panics = this.#counter('panics_total', 'A metrics that counts the number of panics.', []);
  readonly #duration = new Histogram({
    name: 'coredns_dns_request_duration_seconds',
    help: 'Histogram of the time (in seconds) each request took per zone.',
    labelNames: ['server', 'zone', 'view', 'type'],
    buckets: SECONDS,
    registers: [this.registry],
  });
  readonly #requestSize = this.#sizes(
    'request',
    'Size of the EDNS0 UDP buffer in bytes (64K for TCP) per zone and protocol.',
  );
  readonly #responseSize = this.#sizes('response', 'Size of the returned response in bytes.');
  readonly #upstream = new Histogram({
    name: 'coredns_proxy_request_duration_seconds',
    help: 'Histogram of the time each upstream request took.',
    labelNames: ['proxy_name', 'to', 'rcode'],
    buckets: SECONDS,
    registers: [this.registry],
  });

  /** `server` as in CoreDNS: `dns://:53`. */
  constructor(server: string, version: string) {
    this.#server = server;
    new Gauge({
      name: 'coredns_build_info',
      help: 'A metric with a constant 1 value labeled by version, revision and the runtime that serves.',
      labelNames: ['version', 'revision', 'goversion'],
      registers: [this.registry],
    }).set({ version: `flatnet-${version}`, revision: '', goversion: `node-${process.version}` }, 1);
    collectDefaultMetrics({ register: this.registry });
  }

  request(request: AnsweredRequest): void {
    const place = { server: this.#server, zone: request.zone, view: '' };
    const type = TYPE_NAMES.get(request.type) ?? 'other';
    const plugin = request.zone === '.' ? 'forward' : request.zone === 'dropped' ? '' : 'kubernetes';
    const family = request.family === 4 ? '1' : '2';
    this.#requests.inc({ ...place, proto: request.transport, family, type });
    this.#responses.inc({ ...place, rcode: rcodeName(request.rcode), plugin });
    if (request.dnssecOk) this.#dnssecOk.inc(place);
    this.#duration.observe({ ...place, type }, request.seconds);
    this.#requestSize.observe({ ...place, proto: request.transport }, request.requestBytes);
    this.#responseSize.observe({ ...place, proto: request.transport }, request.responseBytes);
  }

  upstream(to: string, seconds: number, rcode: number): void {
    this.#upstream.observe({ proxy_name: 'forward', to, rcode: rcodeName(rcode) }, seconds);
  }

  /** Something was thrown while answering: a defect of ours, survived. */
  panic(): void {
    this.#panics.inc();
  }

  #counter<T extends string>(name: string, help: string, labelNames: T[]): Counter<T> {
    return new Counter({ name: `coredns_${name}`, help, labelNames, registers: [this.registry] });
  }

  #sizes(which: 'request' | 'response', help: string): Histogram<'server' | 'zone' | 'view' | 'proto'> {
    return new Histogram({
      name: `coredns_dns_${which}_size_bytes`,
      help,
      labelNames: ['server', 'zone', 'view', 'proto'],
      buckets: OCTETS,
      registers: [this.registry],
    });
  }
}

function rcodeName(rcode: number): string {
  return RCODE_NAMES[rcode] ?? (rcode === 16 ? 'BADVERS' : String(rcode));
}
