import { expect, test } from 'vitest';
import { etcdSchema } from './settings.ts';

const issues = (input: unknown): string =>
  etcdSchema
    .safeParse(input)
    .error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
    .join('\n') ?? '';

test("flanneld's defaults", () => {
  const { access, prefix, renewMarginSeconds } = etcdSchema.parse({});
  expect(access.endpoints.map(({ text }) => text)).toEqual([
    'http://127.0.0.1:4001',
    'http://127.0.0.1:2379',
  ]);
  expect([prefix, renewMarginSeconds]).toEqual(['/coreos.com/network', 3600]);
});

test('everything', () => {
  const { access, prefix } = etcdSchema.parse({
    endpoints: ['https://10.0.0.1:2379', 'https://10.0.0.2:2379'],
    prefix: '/kube-centos/network/',
    caFile: '/ca',
    certFile: '/cert',
    keyFile: '/key',
    username: 'flannel',
    passwordFile: '/password',
    subnetLeaseRenewMargin: 1439,
  });
  expect(prefix).toBe('/kube-centos/network');
  expect(access.endpoints).toHaveLength(2);
});

test.each<[object, string]>([
  [{ endpoints: [] }, 'endpoints'],
  [{ endpoints: ['http://x y'] }, 'endpoints.0: "http://x y" is not an etcd endpoint; write it like'],
  [
    { endpoints: ['http://10.0.0.1:2379'], caFile: '/ca' },
    'endpoints.0: http://10.0.0.1:2379 is not encrypted, although caFile or certFile is set; write https://',
  ],
  [{ prefix: 'coreos.com' }, 'prefix: must begin with a slash'],
  [{ prefix: '/' }, 'prefix: must begin with a slash'],
  [{ certFile: '/cert' }, 'keyFile: is missing beside certFile'],
  [{ keyFile: '/key' }, 'certFile: is missing beside keyFile'],
  [{ username: 'flannel' }, 'passwordFile: is missing beside username'],
  [{ password: 'x' }, 'username: is missing beside the password'],
  [{ username: 'a', password: 'x', passwordFile: '/x' }, 'password: is set beside passwordFile'],
  [{ subnetLeaseRenewMargin: 0 }, 'subnetLeaseRenewMargin'],
  [{ subnetLeaseRenewMargin: 1440 }, 'subnetLeaseRenewMargin'],
  [{ endpoint: 'x' }, 'Unrecognized key: "endpoint"'],
])('%j is refused by name', (input, message) => {
  expect(issues(input)).toContain(message);
});
