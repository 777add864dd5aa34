import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { ApiClient } from '../api-client.ts';
import { CONFIG_MAPS } from '../resource-type.ts';
import { UnrulyServer, type Misbehaviour } from '../unruly-server.ts';
import { encodeAnswer, encodeListAnswer, encodeMessage } from './encode.ts';
import { PROTOBUF, readListPage, readStatus } from './list-page.ts';
import { ProtoMap, ProtoMessage } from './message.ts';

const MESSAGE = new ProtoMessage({
  metadata: [1, { name: [1, 'text'], labels: [11, new ProtoMap('app', 'example.com/zone')] }],
  flags: [2, ['boolean']],
  number: [3, 'integer'],
  texts: [20, ['text']],
  parts: [300, [{ size: [1, 'integer'] }]],
});
/** Of a later version: what the reader does not know lies between what it knows. */
const LATER = new ProtoMessage({
  metadata: [1, { name: [1, 'text'], labels: [11, new ProtoMap()], uid: [5, 'text'] }],
  flags: [2, ['boolean']],
  number: [3, 'integer'],
  more: [9, [{ deep: [1, ['text']], number: [2, 'integer'] }]],
  texts: [20, ['text']],
  parts: [300, [{ size: [1, 'integer'], unit: [2, 'text'] }]],
});

const text = fc.string({ unit: 'binary', minLength: 1 });
const integer = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const object = fc.record(
  {
    metadata: fc.record(
      { name: text, labels: fc.dictionary(fc.constantFrom('app', 'example.com/zone'), text, { minKeys: 1 }) },
      { requiredKeys: [] },
    ),
    flags: fc.array(fc.boolean(), { minLength: 1 }),
    number: integer,
    texts: fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }),
    parts: fc.array(fc.record({ size: integer }, { requiredKeys: [] }), { minLength: 1 }),
  },
  { requiredKeys: [] },
);

const items = (page: Buffer, message = MESSAGE): unknown[] => [...readListPage('test', page, message).items];

/** Undefined: there is none. */
function failureOf(call: () => void): unknown {
  try {
    call();
    return undefined;
  } catch (error) {
    return error instanceof FlatnetError ? error.code : error;
  }
}

const inProtobuf =
  (status: number, body: Buffer): Misbehaviour =>
  (_, response) => {
    response.writeHead(status, { 'content-type': PROTOBUF }).end(body);
    return true;
  };

describe('lists in protobuf', () => {
  test('what was written is read again, whatever a later version has between', () => {
    fc.assert(
      fc.property(fc.array(object), fc.array(text), (objects, more) => {
        const added = objects.map((one) => ({
          ...one,
          more: [{ deep: more, number: -1 }],
          ...('metadata' in one
            ? { metadata: { ...one.metadata, uid: 'u', labels: { other: 'x', ...one.metadata?.labels } } }
            : {}),
        }));
        const page = encodeListAnswer(
          { resourceVersion: '7' },
          added.map((one) => encodeMessage(LATER, one)),
        );
        const { metadata } = readListPage('test', page, MESSAGE);
        expect(metadata).toEqual({ resourceVersion: '7' });
        const expected = objects.map((one) =>
          'metadata' in one ? { ...one, metadata: { labels: {}, ...one.metadata } } : one,
        );
        expect(items(page)).toEqual(expected);
      }),
    );
  });

  test('bytes that are cut off or altered end in an error or in other values, in nothing else', () => {
    fc.assert(
      fc.property(object, fc.nat(), fc.nat(255), fc.boolean(), (one, at, byte, cut) => {
        const page = encodeListAnswer({ resourceVersion: '7' }, [encodeMessage(MESSAGE, one)]);
        const bad = cut ? page.subarray(0, at % page.length) : Buffer.from(page);
        if (!cut) bad[at % page.length] = byte;
        const code = failureOf(() => items(bad));
        expect(code).toBeOneOf(cut ? ['API_BAD_PROTOBUF'] : ['API_BAD_PROTOBUF', undefined]);
      }),
    );
  });

  test('a refusal by an independent encoder', () => {
    // Status with every field, by protobufjs.
    const bytes = Buffer.from(
      'azhzAAoMCgJ2MRIGU3RhdHVzEkMSB0ZhaWx1cmUaHXRoZSBjb250aW51ZSB0b2tlbiBpcyB0b28gb2xkIgdFeHBpcmVkKg0iCQoB' +
        'UhIBTRoBRigDMJoDGgAiAA==',
      'base64',
    );
    expect(readStatus('test', bytes)).toEqual({
      status: 'Failure',
      message: 'the continue token is too old',
      reason: 'Expired',
      details: { causes: [{ reason: 'R', message: 'M', field: 'F' }], retryAfterSeconds: 3 },
      code: 410,
    });
  });
});

describe('the client', () => {
  const NAMED = new ProtoMessage({ metadata: [1, { name: [1, 'text'] }] });
  const STATUS = new ProtoMessage({ message: [3, 'text'], reason: [4, 'text'], code: [6, 'integer'] });
  let server: UnrulyServer;
  let client: ApiClient;

  beforeEach(async () => {
    server = await UnrulyServer.start();
    client = new ApiClient(server.access(), 'flatnet-test');
  });

  afterEach(async () => {
    await client.close();
    await server.stop();
  });

  const page = (metadata: { continue?: string }, ...names: string[]): Misbehaviour =>
    inProtobuf(
      200,
      encodeListAnswer(
        { resourceVersion: '7', ...metadata },
        names.map((name) => encodeMessage(NAMED, { metadata: { name } })),
      ),
    );
  const list = async (): Promise<unknown> =>
    client.listProjected(CONFIG_MAPS, { protobuf: NAMED }, ({ metadata }) => metadata?.name);

  test('takes protobuf where the server has it, page by page', async () => {
    server.misbehave(page({ continue: 'on' }, 'a', 'b'), page({}, 'c'));
    expect(await list()).toEqual({ items: ['a', 'b', 'c'], resourceVersion: '7' });
    expect(server.requests.map(({ url }) => url.searchParams.get('continue'))).toEqual([null, 'on']);
    expect(server.requests[0]?.headers.accept).toBe('application/vnd.kubernetes.protobuf, application/json');
  });

  test('takes JSON where it has not', async () => {
    server.put('a', '1');
    expect(await list()).toMatchObject({ items: ['a'] });
  });

  test('understands refusals in protobuf: after an expired page everything is asked for at once', async () => {
    const expired = encodeAnswer(STATUS, { message: 'too old', reason: 'Expired', code: 410 });
    server.misbehave(page({ continue: 'on' }, 'a'), inProtobuf(410, expired), page({}, 'a', 'b'));
    expect(await list()).toEqual({ items: ['a', 'b'], resourceVersion: '7' });
    server.misbehave(
      inProtobuf(403, encodeAnswer(STATUS, { message: 'no', reason: 'Forbidden', code: 403 })),
    );
    await expect(list()).rejects.toMatchObject({
      status: 403,
      reason: 'Forbidden',
      message: 'cannot list configmaps: no',
    });
  });

  test.each([
    ['no protobuf', Buffer.from('<html>')],
    ['no list', encodeAnswer(STATUS, { message: 'well', code: 200 })],
  ])('tells of what is %s', async (_, body) => {
    server.misbehave(inProtobuf(200, body));
    await expect(list()).rejects.toMatchObject({ code: 'API_BAD_PROTOBUF' });
  });
});
