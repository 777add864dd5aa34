import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expand } from './expansion.ts';
import { serviceVariables } from './service-variables.ts';

describe('expand', () => {
  const known = new Map([
    ['A', 'one'],
    ['B', '$(A)'],
  ]);
  test.each([
    ['$(A)', 'one'],
    ['x$(A)y$(A)', 'xoneyone'],
    ['$(MISSING)', '$(MISSING)'],
    ['$$(A)', '$(A)'],
    ['$$$(A)', '$one'],
    ['$(B)', '$(A)'],
    ['$A ${A} $(', '$A ${A} $('],
  ])('%s', (text, expected) => {
    expect(expand(text, known)).toBe(expected);
  });

  test('text without a dollar is left alone', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!text.includes('$'));
        expect(expand(text, known)).toBe(text);
      }),
    );
  });
});

test('service variables: own namespace, the API always, headless never', () => {
  const port = { name: 'http', port: 80, protocol: 'TCP' };
  const services = [
    {
      namespace: 'default',
      name: 'kubernetes',
      clusterIp: '10.96.0.1',
      ports: [{ name: 'https', port: 443, protocol: 'TCP' }],
    },
    { namespace: 'shop', name: 'redis-leader', clusterIp: '10.96.0.7', ports: [port] },
    { namespace: 'shop', name: 'headless', clusterIp: 'None', ports: [port] },
    { namespace: 'other', name: 'web', clusterIp: '10.96.0.8', ports: [port] },
  ];
  const linked = serviceVariables(services, 'shop', true);
  expect(linked.get('REDIS_LEADER_SERVICE_HOST')).toBe('10.96.0.7');
  expect(linked.get('REDIS_LEADER_PORT_80_TCP')).toBe('tcp://10.96.0.7:80');
  expect(linked.get('REDIS_LEADER_SERVICE_PORT_HTTP')).toBe('80');
  expect(linked.get('KUBERNETES_SERVICE_HOST')).toBe('10.96.0.1');
  expect([...linked.keys()].filter((key) => /HEADLESS|WEB/.test(key))).toEqual([]);
  expect(
    [...serviceVariables(services, 'shop', false).keys()].every((key) => key.startsWith('KUBERNETES_')),
  ).toBe(true);
});
