import { expect, test } from 'vitest';
import { parseNetworkConfig } from './cni-config.ts';

test.each([
  ['x.conflist', '{', /x\.conflist: is no JSON/],
  ['x.conflist', '{"name":"../n","plugins":[{"type":"a"}]}', /"name" is missing or invalid/],
  ['x.conflist', '{"name":"n","plugins":[]}', /"plugins" must list at least one/],
  [
    'x.conflist',
    '{"name":"n","plugins":[{"type":"../../bin/sh"}]}',
    /"plugins\[0\]\.type" is missing or invalid/,
  ],
  ['x.conf', '{"name":"n"}', /type" is missing/],
])('%s %s is refused', (file, text, expected) => {
  expect(() => parseNetworkConfig(file, text)).toThrow(expected);
});

test('a single plugin is a list of one', () => {
  const config = parseNetworkConfig('x.conf', '{"cniVersion":"0.4.0","name":"n","type":"bridge","mtu":9}');
  expect(config).toMatchObject({ name: 'n', cniVersion: '0.4.0', plugins: [{ type: 'bridge', mtu: 9 }] });
});
