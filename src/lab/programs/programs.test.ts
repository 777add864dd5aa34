import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Flags, type FlagSpec } from './flags.ts';
import { parseGoDuration } from './go-duration.ts';
import { checkMessage, readStored } from './guestbook-message.ts';
import { renderPage } from './guestbook-page.ts';
import { RespDecoder, RespError, encodeCommand, type RespValue } from './resp.ts';
import { socketText } from './socket-text.ts';

describe('flags as Go programs take them', () => {
  const specs: FlagSpec[] = [
    { name: 'port', kind: 'integer', fallback: 80 },
    { name: 'http', kind: 'boolean', fallback: true },
    { name: 'name', kind: 'text', fallback: '' },
  ];
  const parse = (...args: string[]): [number, boolean, string] => {
    const flags = Flags.parse('test', specs, args);
    return [flags.integer('port'), flags.boolean('http'), flags.text('name')];
  };

  test('with an equals sign or without, one dash or two', () => {
    expect(parse()).toEqual([80, true, '']);
    expect(parse('--port=81', '--http=false', '-name', 'x=y')).toEqual([81, false, 'x=y']);
    expect(parse('--port', '-1', '--http', '--name=')).toEqual([-1, true, '']);
  });

  test.each([
    [['--prot=80'], /unknown argument "--prot=80"/],
    [['80'], /unknown argument "80"/],
    [['--port'], /--port needs a value/],
    [['--port=x'], /--port: "x" is not a number/],
    [['--http=maybe'], /"maybe" is not true or false/],
  ])('%s', (args, message) => {
    expect(() => parse(...args)).toThrow(message);
  });
});

test('durations of Go', () => {
  expect(['0', '', '200ms', '1.5s', '1m30s', '2h'].map(parseGoDuration)).toEqual([
    0, 0, 200, 1500, 90_000, 7_200_000,
  ]);
  for (const wrong of ['5', 's', '1s2', '-1s', '1 s'])
    expect(() => parseGoDuration(wrong)).toThrow('not a duration');
});

test('an IPv4 client of a dual-stack socket is shown as such', () => {
  expect(socketText('::ffff:10.0.0.1', 5)).toBe('10.0.0.1:5');
  expect(socketText('fd00::1', 5)).toBe('[fd00::1]:5');
});

describe('the protocol of the store', () => {
  const encode = (value: RespValue): string => {
    if (value === null) return '$-1\r\n';
    if (typeof value === 'number') return `:${value}\r\n`;
    if (typeof value === 'string') return `$${Buffer.byteLength(value)}\r\n${value}\r\n`;
    if (value instanceof RespError) return `-${value.message}\r\n`;
    return `*${value.length}\r\n${value.map(encode).join('')}`;
  };

  test('replies are read wherever the segments fall', () => {
    const { value } = fc.letrec<{ value: RespValue }>((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        fc.string({ unit: 'grapheme' }),
        fc.integer(),
        fc.constant(null),
        fc.constant(new RespError('WRONGTYPE')),
        fc.array(tie('value'), { maxLength: 3 }),
      ),
    }));
    fc.assert(
      fc.property(fc.array(value, { maxLength: 4 }), fc.integer({ min: 1, max: 9 }), (values, step) => {
        const stream = Buffer.from(values.map(encode).join(''));
        const decoder = new RespDecoder();
        const read: RespValue[] = [];
        for (let at = 0; at < stream.length; at += step)
          read.push(...decoder.push(stream.subarray(at, at + step)));
        expect(read).toEqual(values);
      }),
    );
  });

  test('arguments may hold anything', () => {
    expect(encodeCommand(['SET', 'ä', 'a\r\nb']).toString()).toBe(
      '*3\r\n$3\r\nSET\r\n$2\r\nä\r\n$4\r\na\r\nb\r\n',
    );
  });

  test('a server that speaks something else is found out', () => {
    expect(() => new RespDecoder().push(Buffer.from('HTTP/1.1 400 Bad Request\r\n'))).toThrow(
      'Redis protocol',
    );
  });
});

describe('the guestbook', () => {
  test('a message needs a name and a text of decent length', () => {
    expect(checkMessage({ name: ' Ada ', text: 'Hello' })).toEqual({ name: 'Ada', text: 'Hello' });
    expect(() => checkMessage({ name: ' ', text: 'x' })).toThrow('fill in the name');
    expect(() => checkMessage({ name: 'x', text: 'y'.repeat(501) })).toThrow('longer than 500');
    for (const nonsense of [null, 7, 'x', [], { name: {} }])
      expect(() => checkMessage(nonsense)).toThrow('name');
  });

  test('what somebody else put into the store is not shown', () => {
    const good = { name: 'a', text: 'b', at: '2026-01-01T00:00:00.000Z', pod: 'p' };
    expect(readStored(JSON.stringify(good))).toEqual(good);
    for (const text of ['x', 'null', '{}', '[]', '{"name":1,"text":"b","at":"","pod":""}']) {
      expect(readStored(text)).toBeUndefined();
    }
  });

  test('nothing that people write becomes markup', () => {
    const evil = '"><script>alert(1)</script>';
    const page = renderPage({
      title: evil,
      nonce: 'n',
      list: { messages: [{ name: evil, text: evil, at: 'x', pod: evil }], pod: evil },
      problem: evil,
      draft: { name: evil, text: evil },
      frontendPod: evil,
    });
    expect(page).not.toContain('<script>alert');
    expect(page.match(/&lt;script&gt;alert/g)).toHaveLength(10);
  });
});
