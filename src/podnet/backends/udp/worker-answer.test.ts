import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import { parsePeers, parseState } from './worker-answer.ts';

const STATE = `protocol 1
device flannel0
local 172.30.0.1
port 8285
pid 4711
mtu 1472
peers 2
something-new 3
`;

test('the state of a worker; what is new in it is passed over', () => {
  expect(parseState(STATE)).toEqual({
    protocol: 1,
    device: 'flannel0',
    local: Ip.parse('172.30.0.1'),
    port: 8285,
    pid: 4711,
    peers: 2,
  });
});

test.each(['protocol 1\n', 'device flannel0\n', 'local 172.30.0.1\n', 'port 8285\n', 'peers 2\n'])(
  'without %j it is not understood',
  (line) => {
    expect(() => parseState(STATE.replace(line, ''))).toThrow(
      expect.objectContaining({ code: 'UDP_WORKER_ANSWER' }),
    );
  },
);

test('peers, as they are written', () => {
  const octet = fc.integer({ min: 0, max: 255 });
  const peers = fc.array(fc.tuple(octet, octet, fc.integer({ min: 1, max: 65_535 })), { maxLength: 50 });
  fc.assert(
    fc.property(peers, (list) => {
      const expected = list.map(([a, b, port]) => ({
        podCidr: Cidr.parse(`10.${a}.${b}.0/24`),
        via: Ip.parse(`192.0.${a}.${b}`),
        port,
      }));
      const text = expected.map(
        ({ podCidr, via, port }) => `${podCidr.toString()} ${via.toString()}:${port}\n`,
      );
      expect(parsePeers(text.join('') || '\n')).toEqual(expected);
    }),
  );
});

test.each(['10.244.2.0/24', '10.244.2.0/24 172.30.0.2', '10.244.2.0/33 172.30.0.2:8285', 'x 172.30.0.2:1'])(
  'the peer %j is not understood',
  (line) => {
    expect(() => parsePeers(`${line}\n`)).toThrow(expect.objectContaining({ code: 'UDP_WORKER_ANSWER' }));
  },
);
