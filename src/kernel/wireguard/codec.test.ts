import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { Attributes, listAttributes, MessageBuilder } from '../netlink/message.ts';
import { SecretKey } from './key.ts';
import { decodeDevice, encodeGetDevice, encodeSetDevice } from './netlink-codec.ts';
import type { WireguardChange } from './objects.ts';
import { formatEndpoint, parseDevice, readErrno, renderSet } from './uapi-codec.ts';

// RFC 7748, section 6.1: Alice's and Bob's keys.
const ALICE = SecretKey.fromBytes(
  Buffer.from('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a', 'hex'),
);
const ALICE_PUBLIC = Buffer.from(
  '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a',
  'hex',
).toString('base64');
const BOB_PUBLIC_HEX = 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f';
const BOB_PUBLIC = Buffer.from(BOB_PUBLIC_HEX, 'hex').toString('base64');

const key = (byte: number): SecretKey => SecretKey.fromBytes(Buffer.alloc(32, byte));
const SHARED = key(7);

const change: WireguardChange = {
  privateKey: ALICE,
  listenPort: 51_820,
  peers: [
    {
      publicKey: BOB_PUBLIC,
      presharedKey: SHARED,
      endpoint: { ip: Ip.parse('fd00:30::2'), port: 51_821 },
      keepalive: 25,
      allowed: [Cidr.parse('10.244.2.0/24'), Cidr.parse('fd00:10:244:2::/64')],
    },
  ],
};

describe('the text protocol', () => {
  test('a change is what wg setconf sends', () => {
    expect(renderSet(change)).toBe(
      `${[
        'set=1',
        'private_key=77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a',
        'listen_port=51820',
        `public_key=${BOB_PUBLIC_HEX}`,
        `preshared_key=${'07'.repeat(32)}`,
        'endpoint=[fd00:30::2]:51821',
        'persistent_keepalive_interval=25',
        'replace_allowed_ips=true',
        'allowed_ip=10.244.2.0/24',
        'allowed_ip=fd00:10:244:2::/64',
      ].join('\n')}\n\n`,
    );
  });

  test('what is left out is not touched; removal is alone', () => {
    expect(renderSet({ peers: [{ publicKey: BOB_PUBLIC, presharedKey: null }] })).toBe(
      `set=1\npublic_key=${BOB_PUBLIC_HEX}\npreshared_key=${'0'.repeat(64)}\n\n`,
    );
    expect(renderSet({ peers: [{ publicKey: BOB_PUBLIC, remove: true, keepalive: 1 }] })).toBe(
      `set=1\npublic_key=${BOB_PUBLIC_HEX}\nremove=true\n\n`,
    );
  });

  test('an answer becomes the device, its own key only by its public half', () => {
    const answer = `${renderSet(change)
      .replace('set=1\n', '')
      .replace('replace_allowed_ips=true\n', '')
      .trimEnd()}
last_handshake_time_sec=1700000000
last_handshake_time_nsec=500000000
tx_bytes=18446744073709551615
rx_bytes=3
protocol_version=1
some_day=new
errno=0

`;
    expect(readErrno(answer)).toBe(0);
    const device = parseDevice('flannel-wg', answer);
    expect(device).toMatchObject({ name: 'flannel-wg', publicKey: ALICE_PUBLIC, listenPort: 51_820 });
    const [peer] = device.peers;
    expect(peer).toMatchObject({
      publicKey: BOB_PUBLIC,
      keepalive: 25,
      lastHandshake: 1_700_000_000_500,
      txBytes: 18_446_744_073_709_551_615n,
      rxBytes: 3n,
    });
    expect(peer?.presharedKey?.equals(SHARED)).toBe(true);
    expect(peer?.endpoint && formatEndpoint(peer.endpoint)).toBe('[fd00:30::2]:51821');
    expect(peer?.allowed.map(String)).toEqual(['10.244.2.0/24', 'fd00:10:244:2::/64']);
    expect(
      JSON.stringify(device, (_, value: unknown) => (typeof value === 'bigint' ? 0 : value)),
    ).not.toContain(ALICE.reveal().toString('base64'));
  });

  test('a new device has neither key nor port nor peers', () => {
    expect(parseDevice('x', 'errno=0\n\n')).toEqual({
      name: 'x',
      publicKey: undefined,
      listenPort: 0,
      peers: [],
    });
  });

  test.each([
    [`public_key=${'a'.repeat(64)}\nrx_bytes=many\n\n`, 'a number that is none'],
    ['public_key=zz\nerrno=0\n\n', 'a key that is not of 64 hexadecimal digits'],
    ['listen_port=many\nerrno=0\n\n', 'a number that is none'],
  ])('%j is refused', (answer, message) => {
    expect(() => parseDevice('x', answer)).toThrow(message);
  });

  test('errors', () => {
    expect(readErrno('errno=-98\n\n')).toBe(98);
    expect(() => readErrno('hello\n\n')).toThrow('without errno');
  });
});

describe('generic netlink', () => {
  test('asks by name', () => {
    // struct genlmsghdr (command 0, version 1), then WGDEVICE_A_IFNAME "wg0".
    expect(encodeGetDevice('wg0').toString('hex')).toBe('000100000800020077673000');
  });

  test('a change has the attributes of <linux/wireguard.h>', () => {
    const body = Attributes.parse(encodeSetDevice('flannel-wg', change), 4);
    expect(body.string(2)).toBe('flannel-wg');
    expect(body.bytes(3)).toEqual(ALICE.reveal());
    expect(body.u16(6)).toBe(51_820);
    expect(body.has(5)).toBe(false);
    const [first] = body.list(8);
    const peer = Attributes.parse(first?.value ?? Buffer.alloc(0));
    expect(peer.bytes(1)?.toString('base64')).toBe(BOB_PUBLIC);
    expect(peer.u32(3)).toBe(2);
    // sockaddr_in6: family 10, port in network order, flow, address, scope.
    expect(peer.bytes(4)?.toString('hex')).toBe('0a00ca6d00000000fd00003000000000000000000000000200000000');
    expect(peer.u16(5)).toBe(25);
    expect(peer.list(9)).toHaveLength(2);
  });

  test('a removal says so, and nothing else', () => {
    const body = Attributes.parse(
      encodeSetDevice('wg0', { peers: [{ publicKey: BOB_PUBLIC, remove: true, keepalive: 3 }] }),
      4,
    );
    const [first] = body.list(8);
    expect(listAttributes(first?.value ?? Buffer.alloc(0)).map(({ type }) => type)).toEqual([1, 3]);
  });

  test('the answer of Linux 6.1 is the device that was made there', () => {
    const fixture = readFileSync(join(import.meta.dirname, 'fixtures', 'device-linux-6.1.hex'), 'utf8');
    const device = decodeDevice('flannel-wg', [Buffer.from(fixture.trim(), 'hex')]);
    expect(device).toMatchObject({ publicKey: key(1).publicKey(), listenPort: 51_820 });
    expect(facts(device)).toEqual([
      [
        key(2).publicKey(),
        '09'.repeat(32),
        '[fd00:30::2]:51821',
        25,
        ['10.244.2.0/24', 'fd00:10:244:2::/64'],
      ],
      [key(3).publicKey(), undefined, '172.30.0.3:51820', 0, ['10.244.3.0/24']],
      [key(4).publicKey(), undefined, undefined, 0, []],
    ]);
    expect(device.peers[0]).toMatchObject({ lastHandshake: undefined, rxBytes: 0n, txBytes: 0n });
  });

  test('peers and ranges that go on in further messages are put together', () => {
    const ranges = Array.from({ length: 600 }, (_, n) => new Cidr(Ip.parse('10.0.0.0').plus(n * 256), 24));
    const part = (from: number, to: number): Buffer => answer(BOB_PUBLIC, ranges.slice(from, to));
    const device = decodeDevice('wg0', [part(0, 300), part(300, 600), answer(ALICE_PUBLIC, [])]);
    expect(device.peers.map(({ publicKey }) => publicKey)).toEqual([BOB_PUBLIC, ALICE_PUBLIC]);
    expect(device.peers[0]?.allowed.map(String)).toEqual(ranges.map(String));
  });
});

test('both ways tell the same device of whatever was set', () => {
  const keys = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => SecretKey.fromBytes(bytes));
  const cidr = fc
    .tuple(fc.boolean(), fc.bigInt({ min: 0n, max: 0xffff_ffffn }), fc.integer({ min: 0, max: 32 }))
    .map(([v6, value, length]) => new Cidr(Ip.fromValue(v6 ? 6 : 4, v6 ? value << 96n : value), length));
  const peer = fc.record({
    publicKey: keys.map((each) => each.publicKey()),
    presharedKey: fc.oneof(keys, fc.constant(null)),
    endpoint: fc.record({ ip: cidr.map(({ ip }) => ip), port: fc.integer({ min: 1, max: 65_535 }) }),
    keepalive: fc.integer({ min: 0, max: 65_535 }),
    allowed: fc.uniqueArray(cidr, { selector: String, minLength: 1, maxLength: 4 }),
  });
  fc.assert(
    fc.property(
      keys,
      fc.uniqueArray(peer, { selector: (each) => each.publicKey, maxLength: 5 }),
      (own, peers) => {
        const wanted: WireguardChange = { privateKey: own, listenPort: 1234, peers };
        const text = renderSet(wanted).replace('set=1\n', '').replaceAll('replace_allowed_ips=true\n', '');
        const byText = parseDevice('wg0', `${text.trimEnd()}\nerrno=0\n\n`);
        const byNetlink = decodeDevice('wg0', [encodeSetDevice('wg0', wanted)]);
        expect(facts(byNetlink)).toEqual(facts(byText));
        expect(byText.publicKey).toBe(own.publicKey());
      },
    ),
    { numRuns: 30 },
  );
});

/** In words; the kernel's answer to a request has the same attributes, but for the public key. */
function facts(device: ReturnType<typeof parseDevice>): unknown {
  return device.peers.map((peer) => [
    peer.publicKey,
    peer.presharedKey?.reveal().toString('hex'),
    peer.endpoint && formatEndpoint(peer.endpoint),
    peer.keepalive,
    peer.allowed.map(String),
  ]);
}

/** A message of the kernel's answer: one peer with some of its ranges. */
function answer(publicKey: string, ranges: readonly Cidr[]): Buffer {
  const set = encodeSetDevice('wg0', { peers: [{ publicKey, allowed: ranges }] });
  return new MessageBuilder().bytes(set).finish();
}
