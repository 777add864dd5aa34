import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { CniError, cniCodeOf, errorReply } from './cni-error.ts';
import { decodeCall, encodeCall, encodeReply, type PluginCall } from './frame.ts';
import { readRequest, versionOf } from './request.ts';
import { NO_RUNTIME_CONFIG } from './runtime-config.ts';
import { renderResult } from './result.ts';
import { versionReply } from './version.ts';

const call = (
  environment: Record<string, string>,
  config: unknown = { cniVersion: '1.0.0', name: 'cbr0' },
): PluginCall => ({
  environment: new Map(Object.entries(environment)),
  stdin: Buffer.from(typeof config === 'string' ? config : JSON.stringify(config)),
});

const ADD = { CNI_COMMAND: 'ADD', CNI_CONTAINERID: 'c1', CNI_NETNS: '/run/netns/x', CNI_IFNAME: 'eth0' };

const codeOf = (code: string, retryable = false): number =>
  cniCodeOf(new FlatnetError('x', { code, retryable }));

describe('frames', () => {
  test('are complete only at their last byte, and then say what was put in', () => {
    const name = fc.stringMatching(/^[A-Z_]{1,12}$/);
    fc.assert(
      fc.property(
        fc.dictionary(name, fc.stringMatching(/^[^\0]*$/)),
        fc.uint8Array({ maxLength: 300 }),
        (variables, stdin) => {
          const sent: PluginCall = {
            environment: new Map(Object.entries(variables)),
            stdin: Buffer.from(stdin),
          };
          const bytes = encodeCall(sent);
          expect(decodeCall(bytes)).toEqual(sent);
          expect(decodeCall(bytes.subarray(0, bytes.length - 1))).toBeUndefined();
        },
      ),
      { numRuns: 100 },
    );
  });

  test('nothing else is taken for one', () => {
    expect(() => decodeCall(Buffer.from('GET / HTTP/1.1\r\n'))).toThrow('wrong first bytes');
    expect(() => decodeCall(Buffer.from('FCN1\xff\xff\xff\xff', 'latin1'))).toThrow('4294967295 bytes');
    expect(() => decodeCall(Buffer.concat([encodeCall(call({})), Buffer.from('x')]))).toThrow(
      'behind its end',
    );
    expect(encodeReply(1, '{}').toString('latin1')).toBe('\0\0\0\x01\0\0\0\x02{}');
  });
});

describe('requests', () => {
  test('a spoiled prevResult keeps nobody from DEL, and CHECK names it', () => {
    const config = { cniVersion: '1.0.0', name: 'cbr0', prevResult: { ips: 'none' } };
    expect(readRequest(call({ ...ADD, CNI_COMMAND: 'DEL' }, config))).toMatchObject({ command: 'DEL' });
    expect(readRequest(call(ADD, { ...config, prevResult: null }))).toMatchObject({ command: 'ADD' });
    expect(() => readRequest(call({ ...ADD, CNI_COMMAND: 'CHECK' }, config))).toThrow('prevResult.ips');
  });

  test('an interface name is measured as the kernel does, in bytes', () => {
    expect(() => readRequest(call({ ...ADD, CNI_IFNAME: 'é'.repeat(8) }))).toThrow('CNI_IFNAME');
  });

  test('ADD', () => {
    expect(readRequest(call(ADD))).toMatchObject({
      command: 'ADD',
      cniVersion: '1.0.0',
      containerId: 'c1',
      ifName: 'eth0',
      netns: '/run/netns/x',
      runtimeConfig: NO_RUNTIME_CONFIG,
    });
  });

  test('DEL works without a namespace', () => {
    const request = readRequest(call({ ...ADD, CNI_COMMAND: 'DEL', CNI_NETNS: '' }));
    expect(request).toMatchObject({ command: 'DEL', netns: undefined });
  });

  test('CHECK looks only at addresses of its own interface', () => {
    const prevResult = {
      interfaces: [{ name: 'cni0' }, { name: 'eth0', sandbox: '/run/netns/x' }],
      ips: [
        { address: '10.244.1.2/24', interface: 1 },
        { address: '192.0.2.1/24', interface: 0 },
      ],
    };
    const request = readRequest(call({ ...ADD, CNI_COMMAND: 'CHECK' }, { cniVersion: '0.4.0', prevResult }));
    expect(request).toMatchObject({ command: 'CHECK', expectedAddresses: ['10.244.1.2/24'] });
  });

  test.each<[string, PluginCall, number]>([
    ['no command', call({}), 4],
    ['unknown command', call({ CNI_COMMAND: 'PAINT' }), 4],
    ['no container', call({ ...ADD, CNI_CONTAINERID: '' }), 4],
    ['container with slash', call({ ...ADD, CNI_CONTAINERID: 'a/b' }), 4],
    ['no namespace', call({ ...ADD, CNI_NETNS: '' }), 4],
    ['interface of 16 characters', call({ ...ADD, CNI_IFNAME: 'a234567890123456' }), 4],
    ['interface that climbs', call({ ...ADD, CNI_IFNAME: '..' }), 4],
    ['not JSON', call(ADD, '{'), 6],
    ['JSON of another kind', call(ADD, '[]'), 7],
    ['old version', call(ADD, { cniVersion: '0.2.0' }), 1],
    ['no version (means 0.1.0)', call(ADD, {}), 1],
    [
      'CHECK before 0.4.0',
      call({ ...ADD, CNI_COMMAND: 'CHECK' }, { cniVersion: '0.3.1', prevResult: {} }),
      1,
    ],
    ['CHECK without result', call({ ...ADD, CNI_COMMAND: 'CHECK' }, { cniVersion: '1.0.0' }), 7],
  ])('%s', (_, wrong, code) => {
    expect(() => readRequest(wrong)).toThrow(CniError);
    expect(() => readRequest(wrong)).toThrow(expect.objectContaining({ cniCode: code }));
  });
});

describe('replies', () => {
  const result = {
    bridge: { name: 'cni0', mac: Mac.parse('0a:58:0a:f4:01:01') },
    host: { name: 'veth1', mac: Mac.parse('02:00:00:00:00:01') },
    container: { name: 'eth0', mac: Mac.parse('02:00:00:00:00:02'), netns: '/run/netns/x' },
    addresses: [{ ip: Ip.parse('10.244.1.2'), prefixLength: 24, gateway: Ip.parse('10.244.1.1') }],
    mtu: 1450,
    routes: [
      {
        dst: Cidr.parse('0.0.0.0/0'),
        gw: Ip.parse('10.244.1.1'),
        mtu: undefined,
        priority: 10,
        table: undefined,
      },
    ],
    dns: {},
  };
  const ip = { interface: 2, address: '10.244.1.2/24', gateway: '10.244.1.1' };

  test('a result names the family before 1.0.0 only', () => {
    expect(JSON.parse(renderResult(result, '0.3.1'))).toMatchObject({
      cniVersion: '0.3.1',
      ips: [{ version: '4', ...ip }],
    });
    expect(JSON.parse(renderResult(result, '1.0.0'))).toMatchObject({
      ips: [ip],
      routes: [{ dst: '0.0.0.0/0', gw: '10.244.1.1' }],
      interfaces: [{ name: 'cni0' }, { name: 'veth1' }, { name: 'eth0', sandbox: '/run/netns/x' }],
    });
    expect(renderResult(result, '1.0.0')).not.toContain('"version"');
  });

  test('errors carry the code of the specification, also those of other rooms', () => {
    const full = new FlatnetError('no address is free', {
      code: 'POD_CIDR_EXHAUSTED',
      hint: 'add room',
      retryable: true,
    });
    expect(JSON.parse(errorReply(full, '0.4.0'))).toEqual({
      cniVersion: '0.4.0',
      code: 11,
      msg: 'no address is free',
      details: 'add room',
    });
    expect(cniCodeOf(new FlatnetError('disk', { code: 'IPAM_IO' }))).toBe(5);
    expect(cniCodeOf(new TypeError('bug'))).toBe(999);
    expect(codeOf('EROFS')).toBe(5);
    expect(codeOf('ENOBUFS', true)).toBe(11);
    expect(codeOf('EINVAL')).toBe(102);
    expect(codeOf('ERRNO_524')).toBe(102);
    expect(codeOf('SOMETHING_ELSE')).toBe(999);
    expect(versionOf(call({}, { cniVersion: '0.3.1' }))).toBe('0.3.1');
    expect(versionOf(call({}, '{'))).toBe('1.0.0');
  });

  test('the executable answers VERSION as the server does', () => {
    const source = readFileSync(new URL('../plugin/flatnet-cni.c', import.meta.url), 'utf8');
    const literal = /#define VERSION_REPLY[ \\\n]*("(?:[^"\\]|\\.)*")/.exec(source)?.[1] ?? '""';
    expect(JSON.parse(literal)).toBe(versionReply());
  });
});
