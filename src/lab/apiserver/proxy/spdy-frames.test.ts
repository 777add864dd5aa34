import { expect, test } from 'vitest';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';
import { dataFrame, FrameReader, parseHeaders, parseSynStream, synReply } from './spdy-frames.ts';

test('the dictionary is that of SPDY/3', () => {
  expect(SPDY_DICTIONARY.length).toBe(1423);
  // zlib calls this the DICTID: the Adler-32 of the dictionary, 0xe3c6a7c2 for SPDY/3.
  let a = 1;
  let b = 0;
  for (const byte of SPDY_DICTIONARY) {
    a = (a + byte) % 65_521;
    b = (b + a) % 65_521;
  }
  expect((b * 65_536 + a).toString(16)).toBe('e3c6a7c2');
});

test('frames survive being cut anywhere', () => {
  const bytes = Buffer.concat([
    dataFrame(3, Buffer.from('hello'), false),
    synReply(5, Buffer.from([1])),
    dataFrame(3, Buffer.alloc(0), true),
  ]);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    const reader = new FrameReader();
    const frames = [...reader.push(bytes.subarray(0, cut)), ...reader.push(bytes.subarray(cut))];
    expect(frames).toEqual([
      { kind: 'data', stream: 3, fin: false, data: Buffer.from('hello') },
      { kind: 'control', type: 2, flags: 0, body: Buffer.from([0, 0, 0, 5, 1]) },
      { kind: 'data', stream: 3, fin: true, data: Buffer.alloc(0) },
    ]);
  }
});

test('a SYN_STREAM tells its stream, a header block its pairs', () => {
  const body = Buffer.from([0x80, 0, 0, 7, 0, 0, 0, 0, 0, 0, 9, 9]);
  expect(parseSynStream(body)).toEqual({ stream: 7, headers: Buffer.from([9, 9]) });
  const block = Buffer.concat([
    Buffer.from([0, 0, 0, 1, 0, 0, 0, 1]),
    Buffer.from('a'),
    Buffer.from([0, 0, 0, 2]),
    Buffer.from('bc'),
  ]);
  expect([...parseHeaders(block)]).toEqual([['a', 'bc']]);
});
