import { decode as decodePacket, type Answer } from 'dns-packet';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Ip } from '../net/ip.ts';
import { answer, isInZone } from './answer.ts';
import type { DnsMetrics } from './dns-metrics.ts';
import { decodeQuery, encodeQuery, type Header } from './query-codec.ts';
import { CLASS_IN, Rcode, bare, type Query, type ResourceRecord, type Response } from './record.ts';
import { encodeError, encodeResponse, encodeTruncated, sizeLimit, type Transport } from './response-codec.ts';
import type { Upstreams } from './upstreams.ts';
import type { ZoneView } from './zone-view.ts';

export interface ResolverOptions {
  readonly view: ZoneView;
  /** Whether the view has been filled; until then nothing is said about the zone. */
  readonly isReady: () => boolean;
  readonly upstreams: Upstreams;
  readonly metrics: DnsMetrics;
  readonly logger: Logger;
  /** Uniform in [0, 1). */
  readonly random?: () => number;
}

export interface Arrival {
  readonly transport: Transport;
  readonly family: 4 | 6;
}

type Reply = Buffer | undefined;
type Outcome = { readonly zone: string; readonly rcode: number; readonly packet: Buffer };

/** RFC 8914 section 4: codes of extended errors. */
const NOT_READY = { code: 14, text: 'the cluster has not been listed yet' };
const NO_UPSTREAM = { code: 20, text: 'outside the cluster, and no upstream name server is configured' };
const UPSTREAM_SILENT = { code: 22, text: 'no upstream name server answered' };

/** From a packet to its answer: what the cluster knows at once, the rest from upstream. Never throws or rejects. */
export class Resolver {
  readonly #options: ResolverOptions;
  readonly #random: () => number;

  constructor(options: ResolverOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
  }

  /** undefined: nothing is to be sent. A promise only for what needs an upstream server. */
  resolve(packet: Buffer, arrival: Arrival): Reply | Promise<Reply> {
    const started = performance.now();
    const decoded = decodeQuery(packet);
    switch (decoded.kind) {
      case 'ignored':
        return undefined;
      case 'malformed':
        this.#options.logger.debug({ reason: decoded.reason }, 'malformed query');
        return this.#dropped(packet, decoded.header, Rcode.FORMERR, arrival, started);
      case 'unsupported':
        return this.#dropped(packet, decoded.header, Rcode.NOTIMP, arrival, started);
      case 'query':
        break;
    }
    const { query } = decoded;
    const outcome = this.#answer(query, packet, arrival);
    const finish = (outcome: Outcome): Buffer => this.#count(query, packet, arrival, started, outcome);
    return outcome instanceof Promise ? outcome.then(finish) : finish(outcome);
  }

  #answer(query: Query, packet: Buffer, arrival: Arrival): Outcome | Promise<Outcome> {
    try {
      return this.#decide(query, packet, arrival);
    } catch (error) {
      this.#options.metrics.panic();
      this.#options.logger.error({ err: error, name: query.question.labels.join('.') }, 'answering failed');
      return this.#write(query, bare(Rcode.SERVFAIL), arrival, this.#options.view.zone);
    }
  }

  #decide(query: Query, packet: Buffer, arrival: Arrival): Outcome | Promise<Outcome> {
    const { view, isReady } = this.#options;
    const { question } = query;
    if ((query.edns?.version ?? 0) !== 0) return this.#write(query, bare(Rcode.BADVERS), arrival, '.');
    if (question.class !== CLASS_IN) return this.#write(query, bare(Rcode.REFUSED), arrival, '.');
    if (!isReady() && isInZone(question.labels, view)) {
      return this.#write(query, bare(Rcode.SERVFAIL, NOT_READY), arrival, view.zone);
    }
    const verdict = answer(question, view);
    if (verdict.kind === 'respond') return this.#write(query, verdict.response, arrival, view.zone);
    if (verdict.kind === 'chase') return this.#chase(query, verdict.response, verdict.target, arrival);
    return this.#forward(query, packet, arrival);
  }

  #forward(query: Query, packet: Buffer, arrival: Arrival): Outcome | Promise<Outcome> {
    if (!this.#options.upstreams.available) {
      return this.#write(query, bare(Rcode.REFUSED, NO_UPSTREAM), arrival, '.');
    }
    return this.#askUpstream(query, packet, arrival);
  }

  async #askUpstream(query: Query, packet: Buffer, arrival: Arrival): Promise<Outcome> {
    try {
      const told = await this.#options.upstreams.ask(packet, arrival.transport);
      const fits =
        told.length <= Math.max(sizeLimit(query, arrival.transport), query.edns?.udpPayloadSize ?? 0);
      return { zone: '.', rcode: (told[3] ?? 0) & 0x0f, packet: fits ? told : encodeTruncated(query) };
    } catch (error) {
      this.#options.logger.warn({ name: query.question.labels.join('.') }, describeError(error));
      return this.#write(query, bare(Rcode.SERVFAIL, UPSTREAM_SILENT), arrival, '.');
    }
  }

  // The client asks for addresses; it gets the alias and what the alias means, in one answer.
  async #chase(query: Query, response: Response, target: string, arrival: Arrival): Promise<Outcome> {
    const { upstreams, view, logger } = this.#options;
    if (!upstreams.available) return this.#write(query, response, arrival, view.zone);
    try {
      const told = decodePacket(await upstreams.ask(encodeQuery(0, target, query.question.type), 'udp'));
      const answers = [...response.answers, ...(told.answers ?? []).flatMap((record) => adopt(record))];
      const rcode = (told.flags ?? 0) & 0x0f;
      return this.#write(query, { ...response, rcode, answers }, arrival, view.zone);
    } catch (error) {
      logger.warn({ name: target }, describeError(error));
      return this.#write(query, { ...response, rcode: Rcode.SERVFAIL }, arrival, view.zone);
    }
  }

  #write(query: Query, response: Response, arrival: Arrival, zone: string): Outcome {
    const shuffled = { ...response, answers: shuffle(response.answers, this.#random) };
    const packet = encodeResponse(query, shuffled, {
      limit: sizeLimit(query, arrival.transport),
      recursionAvailable: this.#options.upstreams.available,
    });
    return { zone, rcode: response.rcode, packet };
  }

  #dropped(packet: Buffer, header: Header, rcode: number, arrival: Arrival, started: number): Buffer {
    const response = encodeError(header, rcode);
    this.#options.metrics.request({
      zone: 'dropped',
      ...arrival,
      type: 0,
      rcode,
      dnssecOk: false,
      requestBytes: packet.length,
      responseBytes: response.length,
      seconds: (performance.now() - started) / 1000,
    });
    return response;
  }

  #count(query: Query, packet: Buffer, arrival: Arrival, started: number, outcome: Outcome): Buffer {
    this.#options.metrics.request({
      zone: outcome.zone === '.' ? '.' : `${outcome.zone}.`,
      ...arrival,
      type: query.question.type,
      rcode: outcome.rcode,
      dnssecOk: query.edns?.dnssecOk === true,
      requestBytes: packet.length,
      responseBytes: outcome.packet.length,
      seconds: (performance.now() - started) / 1000,
    });
    return outcome.packet;
  }
}

/** Records in chance order, aliases before what they lead to: clients that take the first one spread out. */
function shuffle(records: readonly ResourceRecord[], random: () => number): ResourceRecord[] {
  const aliases = records.filter((record) => record.type === 'CNAME');
  const rest = records.filter((record) => record.type !== 'CNAME');
  for (let i = rest.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [rest[i], rest[j]];
    if (a !== undefined && b !== undefined) [rest[i], rest[j]] = [b, a];
  }
  return [...aliases, ...rest];
}

/** A record that came from upstream, as one of ours; what an alias is not usually followed for is left out. */
function adopt(record: Answer): ResourceRecord[] {
  const owner = { name: record.name.toLowerCase(), ttl: 'ttl' in record ? (record.ttl ?? 0) : 0 };
  switch (record.type) {
    case 'A':
    case 'AAAA':
      return [{ ...owner, type: record.type, address: Ip.parse(record.data) }];
    case 'CNAME':
      return [{ ...owner, type: 'CNAME', target: record.data.toLowerCase() }];
    case 'TXT': {
      const texts = [record.data].flat().map((text) => text.toString());
      return [{ ...owner, type: 'TXT', texts }];
    }
    case 'SRV': {
      const { priority = 0, weight = 0, port, target } = record.data;
      return [{ ...owner, type: 'SRV', priority, weight, port, target }];
    }
    default:
      return [];
  }
}
