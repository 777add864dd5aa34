import { describe, expect, test } from 'vitest';
import type { IpFamily } from '../../../net/ip.ts';
import type { Offer } from '../../node-lease.ts';
import { completePrefix, underPrefix, withDefaultPrefix } from './annotation-prefix.ts';
import { isUnmet, readOffers, readUnderlayMtu, writeOffers } from './own-annotations.ts';

const offer = (type: string, data: unknown = null): Offer => ({
  type,
  data: new Map<IpFamily, unknown>([
    [4, data],
    [6, null],
  ]),
});

describe('the offers of a node that changes its backend', () => {
  const first = offer('host-gw');
  const second = offer('vxlan', { VNI: 1, VtepMAC: '02:00:00:00:00:01' });

  test('are read as they were written', () => {
    expect(readOffers(writeOffers([first, second]), first)).toEqual([first, second]);
  });

  test.each([
    ['none', undefined],
    ['flanneld has written other annotations since', writeOffers([second, first])],
    ['no JSON', '{'],
    ['no list', '{}'],
    ['a thousand', JSON.stringify(Array.from({ length: 1000 }, () => ({ type: 'host-gw' })))],
  ])('are the one of flannel where there are %s', (_, text) => {
    expect(readOffers(text, first)).toEqual([first]);
  });
});

test.each([
  ['{"device":"eth0","mtu":9000,"met":true}', 9000, false],
  ['{"mtu":1500,"met":false}', 1500, true],
  ['{"mtu":68}', undefined, false],
  ['{"mtu":"1500"}', undefined, false],
  ['', undefined, false],
  [undefined, undefined, false],
])('%j says MTU %j, and that it may still send by a former backend: %j', (text, mtu, unmet) => {
  expect(readUnderlayMtu(text)).toBe(mtu);
  expect(isUnmet(text)).toBe(unmet);
});

describe('the prefix of annotations', () => {
  test.each([
    ['flannel.alpha.coreos.com', 'flannel.alpha.coreos.com/'],
    ['example.com/', 'example.com/'],
    ['example.com/flannel', 'example.com/flannel-'],
  ])('%s is completed as flannel does', (text, expected) => {
    expect(completePrefix(text)).toBe(expected);
  });

  test.each(['a/b/c', '', 'example.com/fl annel'])('%j is refused', (text) => {
    expect(() => completePrefix(text)).toThrow('cannot begin the name of an annotation');
  });

  test('takes the place of the default one, both ways; of others only our own are kept', () => {
    const prefix = completePrefix('example.com/flannel');
    const name = underPrefix('flannel.alpha.coreos.com/public-ip', prefix);
    expect(name).toBe('example.com/flannel-public-ip');
    const all = {
      [name]: '10.0.0.1',
      'flatnet.dev/node': '{}',
      'flannel.alpha.coreos.com/public-ip': '10.9.9.9',
    };
    expect(withDefaultPrefix(all, prefix)).toEqual({
      'flannel.alpha.coreos.com/public-ip': '10.0.0.1',
      'flatnet.dev/node': '{}',
    });
  });
});
