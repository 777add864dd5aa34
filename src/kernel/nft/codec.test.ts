import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeMessages, NLM_F_ACK } from '../netlink/message.ts';
import { countBatchMessages, encodeBatch, NFT_MSG_NEWSETELEM } from './codec.ts';
import { decodeElements, decodeElementsHeader } from './element-codec.ts';
import {
  addressField,
  endpointData,
  FieldReader,
  indexField,
  portField,
  protocolField,
  type TransportProtocol,
} from './field.ts';
import { nftMessageType } from './nfgen.ts';
import type { NftElement, NftElementList, NftSet } from './objects.ts';
import { PackedElements } from './packed-elements.ts';

const table = { family: 'ip', name: 't' } as const;
const map: NftSet = { table, name: 'm', kind: 'map' };
const vmap: NftSet = { table, name: 'v', kind: 'vmap' };

function roundTrip(set: NftSet, elements: NftElementList): NftElement[] {
  const { bytes } = encodeBatch([{ operation: 'add', set, elements }], 1);
  const found: NftElement[] = [];
  for (const message of decodeMessages(bytes)) {
    if (message.type !== nftMessageType(NFT_MSG_NEWSETELEM)) continue;
    expect(decodeElementsHeader(message.body)).toEqual({ family: 'ip', table: 't', set: set.name });
    decodeElements(message.body, set.kind, found);
  }
  return found;
}

const bytes = (length: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: length, maxLength: length }).map((array) => String.fromCharCode(...array));

describe('a batch', () => {
  test('carries elements as they are, alike or not', () => {
    const plain = fc.record({ key: bytes(12), value: bytes(8) });
    const mixed = fc.oneof(
      plain,
      fc.record({ key: bytes(3), value: bytes(6) }),
      fc.record({ key: bytes(12), value: bytes(8), timeoutMs: fc.nat() }),
    );
    fc.assert(
      fc.property(fc.oneof(fc.array(plain), fc.array(mixed)), (elements) => {
        expect(roundTrip(map, elements)).toEqual(elements);
      }),
    );
  });

  test.each([
    ['of a map', map, 12, 8],
    ['of a set', { ...map, kind: 'set' }, 8, 0],
    ['whose keys are padded', map, 3, 6],
  ] as const)('carries packed elements %s', (_, set, keyLength, valueLength) => {
    const one: fc.Arbitrary<NftElement> =
      valueLength === 0
        ? fc.record({ key: bytes(keyLength) })
        : fc.record({ key: bytes(keyLength), value: bytes(valueLength) });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 40 }), (elements) => {
        const packed = new PackedElements(keyLength, valueLength);
        for (const { key, value } of elements) packed.push(key, value);
        expect(packed.length).toBe(elements.length);
        expect([...packed]).toEqual(elements);
        expect(packed.at(elements.length)).toBeUndefined();
        expect(roundTrip(set, packed)).toEqual(elements);
      }),
    );
  });

  test('carries verdicts', () => {
    const elements = ['drop', 'accept', 'goto lb-3', 'jump x', 'return'].map((value, i) => ({
      key: indexField(i),
      value,
    }));
    expect(roundTrip(vmap, elements)).toEqual(elements);
  });

  test('keeps every message below the limit of an attribute and asks the last for an acknowledgement', () => {
    const elements = Array.from({ length: 10_000 }, (_, i) => ({
      key: indexField(i).padEnd(56, '\0'),
      value: indexField(i).padEnd(20, '\0'),
    }));
    const changes = [{ operation: 'add', set: map, elements } as const];
    const messages = decodeMessages(encodeBatch(changes, 7).bytes);
    expect(messages).toHaveLength(countBatchMessages(changes));
    expect(Math.max(...messages.map(({ body }) => body.length))).toBeLessThan(0xffff);
    expect(messages.map(({ seq }) => seq)).toEqual(messages.map((_, i) => 7 + i));
    const asking = messages.flatMap(({ flags }, i) => ((flags & NLM_F_ACK) === 0 ? [] : [i]));
    expect(asking).toEqual([messages.length - 2]);
    expect(roundTrip(map, elements)).toEqual(elements);
  });

  test('is byte for byte what nft 1.0.6 sends for `add element ip t m { 10.0.0.1 . 80 : 10.0.0.2 . 81 }`', () => {
    const key = addressField('10.0.0.1') + portField(80);
    const value = endpointData('10.0.0.2', 81);
    const { bytes } = encodeBatch([{ operation: 'add', set: map, elements: [{ key, value }] }], 0);
    const [, message] = decodeMessages(bytes);
    // From `nft --debug=mnl`, less NFTA_SET_ELEM_LIST_SET_ID, which only names sets made in the same batch.
    const captured = [
      '02000000',
      '0600010074000000',
      '060002006d000000',
      '28000380',
      '24000180',
      '100001800c0001000a00000100500000',
      '100002800c0001000a00000200510000',
    ];
    expect(message?.body.toString('hex')).toBe(captured.join(''));
  });
});

test('fields are read as they were written', () => {
  const protocol = fc.constantFrom<TransportProtocol>('TCP', 'UDP', 'SCTP');
  const port = fc.integer({ min: 0, max: 65_535 });
  const number = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(fc.ipV4(), fc.ipV6(), protocol, port, number, (v4, v6, protocol, port, number) => {
      const text =
        addressField(v4) + addressField(v6) + protocolField(protocol) + portField(port) + indexField(number);
      const reader = new FieldReader(text);
      expect(reader.address(4)).toBe(v4);
      expect(addressField(reader.address(6))).toBe(addressField(v6));
      expect([reader.protocol(), reader.port(), reader.index()]).toEqual([protocol, port, number]);
      expect(text).toHaveLength(32);
    }),
  );
});
