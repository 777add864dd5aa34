import { decode, encode, type DecodedPacket } from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Ip } from '../net/ip.ts';
import { decodeQuery, encodeQuery } from './query-codec.ts';
import { Rcode, bare, type Query, type ResourceRecord, type Response } from './record.ts';
import { encodeError, encodeResponse, encodeTruncated, sizeLimit } from './response-codec.ts';
import { StreamFrames, frame } from './stream-frames.ts';

const RD = 0x0100;

function packet(name: string, udpPayloadSize?: number): Buffer {
  const opt = {
    type: 'OPT',
    name: '.',
    udpPayloadSize,
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  return encode({
    id: 0x1234,
    type: 'query',
    flags: RD,
    questions: [{ type: 'A', name }],
    ...(udpPayloadSize !== undefined && { additionals: [opt as never] }),
  });
}

function query(name: string, udpPayloadSize?: number): Query {
  const decoded = decodeQuery(packet(name, udpPayloadSize));
  if (decoded.kind !== 'query') throw new Error(decoded.kind);
  return decoded.query;
}

function respond(asked: Query, part: Partial<Response>): { raw: Buffer; read: DecodedPacket } {
  const response = { ...bare(Rcode.NOERROR), ...part };
  const limit = sizeLimit(asked, 'udp');
  const raw = encodeResponse(asked, response, { limit, recursionAvailable: false });
  expect(raw.length).toBeLessThanOrEqual(limit);
  return { raw, read: decode(raw) };
}

const NAME = 'web.default.svc.cluster.local';
const addresses = (count: number): ResourceRecord[] =>
  Array.from({ length: count }, (_, i) => ({
    type: 'A',
    name: NAME,
    ttl: 30,
    address: Ip.parse('10.244.0.0').plus(i),
  }));

describe('queries', () => {
  test('a question is read in lower case and kept as it came', () => {
    const { question, recursionDesired, edns } = query('WeB.default.Svc.cluster.LOCAL', 4096);
    expect(question.labels.join('.')).toBe(NAME);
    expect(Buffer.from(question.raw).toString('latin1')).toContain('WeB');
    expect(recursionDesired).toBe(true);
    expect(edns).toEqual({ version: 0, udpPayloadSize: 4096, dnssecOk: false });
  });

  test('our own queries are read by others', () => {
    const read = decode(encodeQuery(7, 'www.example.com', 28));
    expect(read.questions).toEqual([{ name: 'www.example.com', type: 'AAAA', class: 'IN' }]);
    expect(read.additionals?.[0]).toMatchObject({ type: 'OPT', udpPayloadSize: 1232 });
  });

  test.each<[string, Buffer, string]>([
    ['nothing', Buffer.alloc(0), 'ignored'],
    ['half a header', Buffer.alloc(11), 'ignored'],
    ['a response', Buffer.from('123480000001000000000000', 'hex'), 'ignored'],
    ['no question', Buffer.from('123401000000000000000000', 'hex'), 'malformed'],
    ['65,535 questions', Buffer.from('12340100ffff000000000000', 'hex'), 'malformed'],
    ['65,535 additional records', Buffer.from('12340100000100000000ffff0000010001', 'hex'), 'malformed'],
    ['a name past the end', Buffer.from('1234010000010000000000003f61', 'hex'), 'malformed'],
    ['a pointer to itself', Buffer.from('123401000001000000000000c00c00010001', 'hex'), 'malformed'],
    ['no type', Buffer.from('12340100000100000000000000', 'hex'), 'malformed'],
    [
      'a name of 256 octets',
      Buffer.concat([
        Buffer.from('123401000001000000000000', 'hex'),
        ...Array.from({ length: 128 }, () => Buffer.from('\u0001a')),
        Buffer.from('0000010001', 'hex'),
      ]),
      'malformed',
    ],
    ['an opcode that nobody serves', Buffer.from('123428000001000000000000', 'hex'), 'unsupported'],
  ])('%s: %s', (_what, bytes, kind) => {
    expect(decodeQuery(bytes).kind).toBe(kind);
  });

  test('no octets whatever make the reader throw', () => {
    const base = packet(NAME, 1232);
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(base.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.nat(60),
        (edits, cut) => {
          const bytes = Buffer.from(base.subarray(0, base.length - (cut > 30 ? cut - 30 : 0)));
          for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
          const decoded = decodeQuery(bytes);
          if (decoded.kind === 'query') respond(decoded.query, { answers: addresses(3) });
        },
      ),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (bytes) => {
        expect(decodeQuery(Buffer.from(bytes)).kind).toMatch(/ignored|malformed|unsupported|query/);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('responses', () => {
  test('every record type is read back by another codec', () => {
    const answers: ResourceRecord[] = [
      { type: 'CNAME', name: NAME, ttl: 1, target: 'db.default.svc.cluster.local' },
      { type: 'A', name: 'db.default.svc.cluster.local', ttl: 2, address: Ip.parse('10.0.0.1') },
      { type: 'AAAA', name: NAME, ttl: 3, address: Ip.parse('fd00::1') },
      { type: 'SRV', name: NAME, ttl: 4, priority: 0, weight: 100, port: 80, target: NAME },
      { type: 'TXT', name: NAME, ttl: 5, texts: ['1.1.0'] },
      { type: 'PTR', name: '1.0.0.10.in-addr.arpa', ttl: 6, target: NAME },
      { type: 'NS', name: 'cluster.local', ttl: 7, target: 'ns.dns.cluster.local' },
    ];
    const soa: ResourceRecord = {
      type: 'SOA',
      name: 'cluster.local',
      ttl: 30,
      primary: 'ns.dns.cluster.local',
      mailbox: 'hostmaster.cluster.local',
      serial: 4e9,
      refresh: 7200,
      retry: 1800,
      expire: 86_400,
      minimum: 30,
    };
    const { read } = respond(query(NAME, 1232), { answers, authorities: [soa], authoritative: true });
    expect(
      read.answers?.map((record) => [record.type, record.name, 'data' in record && record.data]),
    ).toEqual([
      ['CNAME', NAME, 'db.default.svc.cluster.local'],
      ['A', 'db.default.svc.cluster.local', '10.0.0.1'],
      ['AAAA', NAME, 'fd00::1'],
      ['SRV', NAME, { priority: 0, weight: 100, port: 80, target: NAME }],
      ['TXT', NAME, [Buffer.from('1.1.0')]],
      ['PTR', '1.0.0.10.in-addr.arpa', NAME],
      ['NS', 'cluster.local', 'ns.dns.cluster.local'],
    ]);
    expect(read.authorities?.[0]).toMatchObject({ type: 'SOA', data: { serial: 4e9, minimum: 30 } });
    expect([read.id, read.flag_qr, read.flag_aa, read.flag_tc, read.flag_rd]).toEqual([
      0x1234,
      true,
      true,
      false,
      true,
    ]);
  });

  test('names keep the case in which they were asked; ours stay lower', () => {
    const asked = query('WEB.default.svc.CLUSTER.local', 1232);
    const soa = {
      type: 'SOA' as const,
      name: 'cluster.local',
      ttl: 30,
      primary: 'ns.dns.cluster.local',
      mailbox: 'h.cluster.local',
    };
    const { read } = respond(asked, {
      answers: addresses(1),
      authorities: [{ ...soa, serial: 1, refresh: 1, retry: 1, expire: 1, minimum: 1 }],
    });
    expect(read.questions?.[0]?.name).toBe('WEB.default.svc.CLUSTER.local');
    expect(read.answers?.[0]?.name).toBe('WEB.default.svc.CLUSTER.local');
    expect(read.authorities?.[0]?.name).toBe('cluster.local');
  });

  test('512 octets hold 29 addresses; with EDNS 1,232 hold 73; what is left out sets TC', () => {
    const plain = respond(query(NAME), { answers: addresses(100) });
    expect([plain.read.answers?.length, plain.read.flag_tc]).toEqual([29, true]);
    const extended = respond(query(NAME, 4096), { answers: addresses(100) });
    expect([extended.read.answers?.length, extended.read.flag_tc]).toEqual([73, true]);
    const tiny = respond(query(NAME, 100), { answers: addresses(29) });
    expect(tiny.read.flag_tc).toBe(true);
    const small = respond(query(NAME), { answers: addresses(29) });
    expect(small.read.flag_tc).toBe(false);
  });

  test('additional records are left out in silence', () => {
    const { read } = respond(query(NAME), { answers: addresses(20), additionals: addresses(20) });
    expect([read.answers?.length, read.flag_tc]).toEqual([20, false]);
    expect(read.additionals?.length).toBe(9);
  });

  test('an extended error is told to those who speak EDNS', () => {
    const part = { rcode: Rcode.REFUSED, extendedError: { code: 20, text: 'no upstream' } };
    expect(respond(query(NAME, 1232), part).raw.toString('latin1')).toContain('no upstream');
    expect(respond(query(NAME), part).raw.toString('latin1')).not.toContain('no upstream');
  });

  test('BADVERS is split over header and OPT', () => {
    const { read } = respond(query(NAME, 1232), { rcode: Rcode.BADVERS });
    expect((read.flags ?? 0) & 15).toBe(0);
    expect(read.additionals?.[0]).toMatchObject({ extendedRcode: 1 });
  });

  test('errors without records', () => {
    const error = decode(encodeError(query(NAME), Rcode.FORMERR));
    expect([error.id, error.flag_qr, (error.flags ?? 0) & 15]).toEqual([0x1234, true, 1]);
    const truncated = decode(encodeTruncated(query(NAME)));
    expect([truncated.flag_tc, truncated.questions?.[0]?.name]).toEqual([true, NAME]);
  });
});

test('a TCP stream is cut into messages wherever the segments fall', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }),
      fc.integer({ min: 1, max: 17 }),
      (list, step) => {
        const messages = list.map((bytes) => Buffer.from(bytes));
        const stream = Buffer.concat(messages.map(frame));
        const frames = new StreamFrames();
        const read: Buffer[] = [];
        for (let at = 0; at < stream.length; at += step)
          read.push(...frames.push(stream.subarray(at, at + step)));
        expect(read.map((message) => message.toString('hex'))).toEqual(
          messages.map((message) => message.toString('hex')),
        );
      },
    ),
  );
});
