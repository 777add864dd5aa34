import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageBuilder } from '../netlink/message.ts';
import { decodeDestination, decodeInfo, decodeServer, writeChange, writeServerCommand } from './codec.ts';
import { SERVER_FLAGS, type IpvsChange, type RealServer, type VirtualServer } from './objects.ts';

// What Linux 6.1 answers, as far as it is read (statistics are cut off; lengths of nests are those of what is left).
const SERVICE =
  '01010000540001000600010002000000060002000600000014000300' +
  '0a600001000000000000000000000000060004000050000007000600727200000c00070002000000ffffffff' +
  '080008000000000008000900ffffffff';
const DESTINATION =
  '0501000078000200140001000af4010a000000000000000000000000060002001f900000' +
  '0800030000000000080004000100000005000d000000000006000e000000000006000f0000000000' +
  '08000500000000000800060000000000080007000200000008000800050000000800090000000000' +
  '06000b0002000000';

const WEB: VirtualServer = {
  protocol: 'TCP',
  address: '10.96.0.1',
  port: 80,
  scheduler: 'rr',
  flags: 0,
  timeoutSeconds: 0,
  clientPrefixLength: 32,
};
const REAL: RealServer = {
  address: '10.244.1.10',
  port: 8080,
  weight: 1,
  forwarding: 'masquerade',
  upperThreshold: 0,
  lowerThreshold: 0,
};

test('what the kernel tells of a virtual server; its own mark is no flag', () => {
  expect(decodeServer(Buffer.from(SERVICE, 'hex'))).toEqual(WEB);
});

test('what the kernel tells of a real server', () => {
  expect(decodeDestination(Buffer.from(DESTINATION, 'hex'))).toEqual({
    ...REAL,
    activeConnections: 2,
    inactiveConnections: 5,
    persistentConnections: 0,
  });
});

test('version and size of the table of connections', () => {
  expect(decodeInfo(Buffer.from('0e01000008000100010201000800020000100000', 'hex'))).toEqual({
    version: '1.2.1',
    connectionTableSize: 4096,
  });
});

test('a virtual server by its mark is passed over', () => {
  const builder = new MessageBuilder(64).u8(1).u8(1).u16(0);
  builder.nest(1, (service) => service.attrU16(1, 2).attrU32(5, 7));
  expect(decodeServer(builder.finish())).toBeUndefined();
});

test.each([
  ['TCP', '10.96.0.1', '010100002400018006000100020000000600020006000000080003000a6000010600040000500000'],
  [
    'SCTP',
    'fd00:96::1',
    '0101000030000180060001000a000000060002008400000014000300fd0000960000000000000000000000010600040000500000',
  ],
] as const)('the key of a %s server at %s', (protocol, address, hex) => {
  const builder = new MessageBuilder(64);
  writeServerCommand(builder, 1, { protocol, address, port: 80 });
  expect(builder.finish().toString('hex')).toBe(hex);
});

const address = fc.oneof(fc.ipV4(), fc.constantFrom('fd00:96::1', '2001:db8::ffff:0:1', '::ffff:192.0.2.1'));

test('what is written is read back', () => {
  fc.assert(
    fc.property(
      address,
      fc.integer({ min: 0, max: 65_535 }),
      fc.constantFrom('TCP', 'UDP', 'SCTP'),
      fc.constantFrom(0, SERVER_FLAGS.persistent, SERVER_FLAGS.mhPort | SERVER_FLAGS.persistent),
      fc.integer({ min: 0, max: 0xffffffff }),
      fc.integer({ min: 1, max: 32 }),
      (where, port, protocol, flags, timeoutSeconds, bits) => {
        const server = { ...WEB, address: where, port, protocol, flags, timeoutSeconds };
        const change: IpvsChange = {
          operation: 'add-server',
          server: { ...server, clientPrefixLength: bits },
        };
        const builder = new MessageBuilder(64);
        writeChange(builder, change);
        expect(decodeServer(builder.finish())).toEqual(change.server);
      },
    ),
  );
});

test('a real server that is written is read back', () => {
  fc.assert(
    fc.property(address, fc.integer({ min: 0, max: 65_535 }), (where, weight) => {
      const builder = new MessageBuilder(64);
      const destination: RealServer = {
        ...REAL,
        address: where,
        weight,
        upperThreshold: 7,
        lowerThreshold: 3,
      };
      writeChange(builder, { operation: 'add-destination', server: WEB, destination });
      expect(decodeDestination(builder.finish())).toMatchObject(destination);
    }),
  );
});

test.each([
  ['', 'no name of an IPVS scheduler'],
  ['a-name-that-is-too-long', 'no name of an IPVS scheduler'],
  ['r\0r', 'NUL'],
])('%j is no scheduler', (scheduler, why) => {
  const change: IpvsChange = { operation: 'add-server', server: { ...WEB, scheduler } };
  expect(() => writeChange(new MessageBuilder(64), change)).toThrow(why);
});
