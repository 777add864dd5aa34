import { expect, test } from 'vitest';
import { reportHealth, type HealthCheck } from './health.ts';

const check = (name: string, failure?: string, required = true): HealthCheck => ({
  name,
  failure: () => failure,
  required,
});

test('short when well, and explained when not or when asked', () => {
  expect(reportHealth('readyz', [check('podnet')], false)).toEqual({ ok: true, text: 'ok' });
  expect(reportHealth('readyz', [check('podnet'), check('cni', 'no pod CIDR')], false)).toEqual({
    ok: false,
    text: '[+]podnet ok\n[-]cni failed: no pod CIDR\nreadyz check failed\n',
  });
  expect(reportHealth('readyz', [check('api-server', 'refused', false)], true)).toEqual({
    ok: true,
    text: '[!]api-server: refused\nreadyz check passed\n',
  });
});
