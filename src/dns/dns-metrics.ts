import { Counter, Gauge, Histogram, Registry, collectDefaultMetrics } from 'prom-client';
import { RecordType } from './record.ts';
import { CounterTally, HistogramTally, type Distribution } from './request-tally.ts';
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

/** The series that one kind of request adds to. */
interface Series {
  readonly requests: { count: number };
  readonly responses: { count: number };
  readonly dnssecOk: { count: number };
  readonly duration: Distribution;
  readonly requestSize: Distribution;
  readonly responseSize: Distribution;
}

/** Counts under CoreDNS's names and labels, so that its dashboards and alerts work unchanged. */
export class DnsMetrics {
  readonly #registry = new Registry();
  readonly #server: string;
  readonly #requests = new CounterTally(
    'coredns_dns_requests_total',
    'Counter of DNS requests made per zone, protocol and family.',
  );
  readonly #responses = new CounterTally('coredns_dns_responses_total', 'Counter of response status codes.');
  readonly #dnssecOk = new CounterTally(
    'coredns_dns_do_requests_total',
    'Counter of DNS requests with DO bit set per zone.',
  );
  readonly #duration = new HistogramTally(
    'coredns_dns_request_duration_seconds',
    'Histogram of the time (in seconds) each request took per zone.',
    SECONDS,
  );
  readonly #requestSize = new HistogramTally(
    'coredns_dns_request_size_bytes',
    'Size of the requests in bytes per zone and protocol.',
    OCTETS,
  );
  readonly #responseSize = new HistogramTally(
    'coredns_dns_response_size_bytes',
    'Size of the returned responses in bytes per zone and protocol.',
    OCTETS,
  );
  /** By what tells requests apart; few, as types and codes without a name are lumped together. */
  readonly #series = new Map<string, Series>();
  readonly #panics = new Counter({
    name: 'coredns_panics_total',
    help: 'A metrics that counts the number of panics.',
    registers: [this.#registry],
  });
  readonly #upstream = new Histogram({
    name: 'coredns_proxy_request_duration_seconds',
    help: 'Histogram of the time each upstream request took.',
    labelNames: ['proxy_name', 'to', 'rcode'],
    buckets: SECONDS,
    registers: [this.#registry],
  });

  /** `server` as in CoreDNS: `dns://:53`. */
  constructor(server: string, version: string) {
    this.#server = server;
    new Gauge({
      name: 'coredns_build_info',
      help: 'A metric with a constant 1 value labeled by version, revision and the runtime that serves.',
      labelNames: ['version', 'revision', 'goversion'],
      registers: [this.#registry],
    }).set({ version: `flatnet-${version}`, revision: '', goversion: `node-${process.version}` }, 1);
    collectDefaultMetrics({ register: this.#registry });
  }

  request(request: AnsweredRequest): void {
    const type = TYPE_NAMES.get(request.type) ?? 'other';
    const key = `${request.zone} ${request.transport} ${request.family} ${type} ${request.rcode}`;
    let series = this.#series.get(key);
    if (series === undefined) {
      series = this.#newSeries(request, type);
      this.#series.set(key, series);
    }
    series.requests.count += 1;
    series.responses.count += 1;
    if (request.dnssecOk) series.dnssecOk.count += 1;
    series.duration.observe(request.seconds);
    series.requestSize.observe(request.requestBytes);
    series.responseSize.observe(request.responseBytes);
  }

  upstream(to: string, seconds: number, rcode: number): void {
    this.#upstream.observe({ proxy_name: 'forward', to, rcode: rcodeName(rcode) }, seconds);
  }

  /** Something was thrown while answering: a defect of ours, survived. */
  panic(): void {
    this.#panics.inc();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  /** Everything in the Prometheus text format. */
  async text(): Promise<string> {
    const tallies = [this.#requests, this.#responses, this.#dnssecOk];
    const histograms = [this.#duration, this.#requestSize, this.#responseSize];
    return (
      [...tallies, ...histograms].map((tally) => tally.text()).join('') + (await this.#registry.metrics())
    );
  }

  #newSeries(request: AnsweredRequest, type: string): Series {
    const place = `server="${this.#server}",zone="${request.zone}",view=""`;
    const sized = `${place},proto="${request.transport}"`;
    const plugin = request.zone === '.' ? 'forward' : request.zone === 'dropped' ? '' : 'kubernetes';
    const family = request.family === 4 ? '1' : '2';
    return {
      requests: this.#requests.series(`${sized},family="${family}",type="${type}"`),
      responses: this.#responses.series(`${place},rcode="${rcodeName(request.rcode)}",plugin="${plugin}"`),
      dnssecOk: this.#dnssecOk.series(place),
      duration: this.#duration.series(`${place},type="${type}"`),
      requestSize: this.#requestSize.series(sized),
      responseSize: this.#responseSize.series(sized),
    };
  }
}

function rcodeName(rcode: number): string {
  return RCODE_NAMES[rcode] ?? (rcode === 16 ? 'BADVERS' : String(rcode));
}
