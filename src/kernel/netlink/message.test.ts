import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import {
  Attributes,
  decodeAck,
  decodeMessages,
  encodeMessage,
  listAttributes,
  MessageBuilder,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
} from './message.ts';

type Tree = readonly (readonly [type: number, value: Uint8Array | Tree])[];

const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.array(
    fc.tuple(
      fc.integer({ min: 0, max: 0x3fff }),
      fc.oneof({ maxDepth: 3 }, fc.uint8Array({ maxLength: 40 }), tie('tree')),
    ),
    { maxLength: 5 },
  ),
}));

function write(builder: MessageBuilder, nodes: Tree): void {
  for (const [type, value] of nodes) {
    if (value instanceof Uint8Array) builder.attrBytes(type, value);
    else builder.nest(type, () => write(builder, value));
  }
}

function read(data: Buffer, like: Tree): unknown {
  return listAttributes(data).map(({ type, value }, at) => {
    const shape = like[at]?.[1];
    return [
      type,
      shape instanceof Uint8Array || shape === undefined ? Uint8Array.from(value) : read(value, shape),
    ];
  });
}

function attempt<T>(action: () => T): T | string {
  try {
    return action();
  } catch (error) {
    return error instanceof FlatnetError ? error.code : 'other';
  }
}

describe('attributes', () => {
  test('whatever is written is read again, at any depth', () => {
    fc.assert(
      fc.property(tree, (nodes) => {
        const builder = new MessageBuilder(16);
        write(builder, nodes);
        expect(builder.length % 4).toBe(0);
        expect(read(builder.finish(), nodes)).toEqual(nodes);
      }),
    );
  });

  test('numbers in host and in network order', () => {
    const data = new MessageBuilder(1)
      .attrU8(1, 0xfe)
      .attrU16(2, 0x1234)
      .attrU16be(3, 8472)
      .attrU32(4, 0xdeadbeef)
      .attrU32be(5, 0x0a000001)
      .attrI32(6, -2)
      .attrU64(7, 2n ** 63n + 1n)
      .attrU64be(8, 258n)
      .attrString(9, 'größe')
      .attrFlag(10)
      .finish();
    expect(data.toString('hex', 0, 16)).toBe('05000100fe0000000600020034120000');
    const found = Attributes.parse(data);
    expect([found.u8(1), found.u16(2), found.u16be(3), found.u32(4)]).toEqual([
      0xfe, 0x1234, 8472, 0xdeadbeef,
    ]);
    expect([found.u32be(5), found.i32(6)]).toEqual([0x0a000001, -2]);
    expect([found.u64(7), found.u64be(8)]).toEqual([2n ** 63n + 1n, 258n]);
    expect([found.string(9), found.has(10), found.bytes(10)?.length, found.u8(11)]).toEqual([
      'größe',
      true,
      0,
      undefined,
    ]);
  });

  test('what cannot be said is refused', () => {
    expect(() => new MessageBuilder().attrString(1, 'a\0b')).toThrow('NUL');
    expect(() => new MessageBuilder().attrBytes(1, new Uint8Array(65_532))).toThrow('65536');
    const builder = new MessageBuilder();
    const nest = builder.beginNest(1);
    builder.attrBytes(2, new Uint8Array(40_000)).attrBytes(3, new Uint8Array(40_000));
    expect(() => builder.endNest(nest)).toThrow('nested attribute');
  });

  test('any bytes are read or refused, never read past', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const data = Buffer.from(bytes);
        const read = attempt(() => listAttributes(data).map(({ value }) => value.length + 4));
        const total = typeof read === 'string' ? 0 : read.reduce((sum, length) => sum + length, 0);
        expect(read === 'EBADMSG' || typeof read !== 'string').toBe(true);
        expect(total).toBeLessThanOrEqual(data.length);
      }),
    );
  });
});

describe('messages', () => {
  test('a batch is read as the messages that were written', () => {
    const message = fc.record({
      type: fc.nat(0xffff),
      flags: fc.nat(0xffff),
      seq: fc.nat(0xffffffff),
      body: fc.uint8Array({ maxLength: 50 }),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 6 }), (messages) => {
        const builder = new MessageBuilder(8);
        for (const { type, flags, seq, body } of messages) builder.begin(type, flags, seq).bytes(body).end();
        const found = decodeMessages(builder.finish()).map(({ type, flags, seq, body }) => ({
          type,
          flags,
          seq,
          body: Uint8Array.from(body),
        }));
        expect(found).toEqual(messages);
      }),
    );
  });

  test('the header is that of nlmsghdr', () => {
    const message = encodeMessage(24, 0x605, 7, Uint8Array.of(1, 2, 3));
    expect(message.toString('hex')).toBe('1300000018000506070000000000000001020300');
  });

  test('a length that leads outside is an error', () => {
    const message = encodeMessage(24, 0, 7, Uint8Array.of(1, 2, 3, 4));
    message.writeUInt32LE(400, 0);
    expect(() => decodeMessages(message)).toThrow('malformed');
  });
});

// struct nlmsgerr: errno, header of the request; then NLMSGERR_ATTR_MSG and NLMSGERR_ATTR_OFFS.
function answer(errno: number, flags: number, request: Uint8Array): Buffer {
  const body = new MessageBuilder().i32(-errno).bytes(request);
  body.attrString(1, 'Nexthop has invalid gateway').attrU32(2, 36);
  return encodeMessage(NLMSG_ERROR, flags, 9, body.finish());
}

describe('acknowledgements', () => {
  const request = encodeMessage(24, 5, 9, new Uint8Array(20));

  test.each([
    ['with the header of the request only', NLM_F_ACK_TLVS | NLM_F_CAPPED, request.subarray(0, 16)],
    ['with the whole request', NLM_F_ACK_TLVS, request],
  ])('the kernel’s words are found %s', (_name, flags, echoed) => {
    const [message] = decodeMessages(answer(101, flags, echoed));
    expect(message && decodeAck(message)).toEqual({
      errno: 101,
      seq: 9,
      message: 'Nexthop has invalid gateway',
      offset: 36,
    });
  });

  test('success without words', () => {
    const body = new MessageBuilder().i32(0).bytes(request.subarray(0, 16)).finish();
    const [message] = decodeMessages(encodeMessage(NLMSG_ERROR, NLM_F_CAPPED, 9, body));
    expect(message && decodeAck(message)).toEqual({ errno: 0, seq: 9 });
  });
});
