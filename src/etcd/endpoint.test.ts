import { expect, test } from 'vitest';
import { usesTls } from './etcd-access.ts';
import { parseEndpoint } from './endpoint.ts';
import { prefixEnd } from './key-range.ts';

test.each([
  ['http://10.0.0.1:2379', '10.0.0.1:2379', false],
  ['https://etcd-1.example:2380/', 'etcd-1.example:2380', true],
  ['10.0.0.1', '10.0.0.1:2379', false],
  ['https://[fd00::1]:2379', '[fd00::1]:2379', true],
])('%s', (text, address, tls) => {
  const endpoint = parseEndpoint(text);
  expect(endpoint.address).toBe(address);
  expect(usesTls({ endpoints: [endpoint] }, endpoint)).toBe(tls);
});

test('without a scheme, certificates say that it is TLS', () => {
  const endpoint = parseEndpoint('10.0.0.1:2379');
  expect(usesTls({ endpoints: [endpoint], caFile: '/ca' }, endpoint)).toBe(true);
});

test.each([
  '',
  'ftp://10.0.0.1',
  'http://10.0.0.1:0',
  'http://10.0.0.1:99999',
  'http://a b',
  'http://u:p@host',
  'fd00::1',
])('"%s" is refused', (text) => {
  expect(() => parseEndpoint(text)).toThrow('is not an etcd endpoint');
});

test('the end of the range of keys with a prefix', () => {
  expect(['/a/', 'net', 'é'].map((prefix) => prefixEnd(prefix))).toEqual([
    Buffer.from('/a0'),
    Buffer.from('neu'),
    Buffer.from([0xc3, 0xaa]),
  ]);
});
