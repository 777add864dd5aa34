import { expect, test } from 'vitest';
import { proxyAccess } from './access.ts';

test.each([
  ['https://10.0.0.1:6443', 'https://10.0.0.1:6443'],
  ['https://10.0.0.1/', 'https://10.0.0.1'],
  ['10.0.0.1:8080', 'http://10.0.0.1:8080'],
])('--master %s alone is %s, without credentials', async (master, server) => {
  const access = await proxyAccess('', master);
  expect(access.server).toBe(server);
  expect(await access.credentials(false)).toEqual({});
});

test.each(['http://', 'a b'])('--master %j is refused', async (master) => {
  await expect(proxyAccess('', master)).rejects.toThrow(
    /--master: .* is not the address of a server; write it like/,
  );
});

test('a kubeconfig that is not there is named', async () => {
  await expect(proxyAccess('/nowhere/kubeconfig', '')).rejects.toThrow(
    /^clientConnection\.kubeconfig: .*\/nowhere\/kubeconfig/,
  );
});
