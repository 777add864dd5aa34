import { mkdtempSync, rmSync, writeFileSync, chmodSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { inClusterAccess } from './in-cluster.ts';
import { loadKubeconfig } from './kubeconfig.ts';

let folder: string;
const saved = process.env['KUBECONFIG'];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-kubeconfig-'));
});

afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
  if (saved === undefined) delete process.env['KUBECONFIG'];
  else process.env['KUBECONFIG'] = saved;
});

function save(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : stringify(content));
  return path;
}

const config = (user: object, cluster: object = {}, context: object = {}): object => ({
  apiVersion: 'v1',
  kind: 'Config',
  'current-context': 'here',
  clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
  users: [{ name: 'u', user }],
  contexts: [{ name: 'here', context: { cluster: 'c', user: 'u', ...context } }],
});

const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A credential plugin that counts its runs and prints what it is given. */
function plugin(status: object): { exec: object; runs: () => number; info: () => unknown } {
  const path = save(
    'plugin.sh',
    `#!/bin/sh\ncd "$(dirname "$0")"\necho run >> runs\nprintf '%s' "$KUBERNETES_EXEC_INFO" > info\ncat "$1"\n`,
  );
  chmodSync(path, 0o755);
  save(
    'answer.json',
    JSON.stringify({ apiVersion: 'client.authentication.k8s.io/v1', kind: 'ExecCredential', status }),
  );
  return {
    exec: {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: './plugin.sh',
      args: ['answer.json'],
      interactiveMode: 'Never',
      provideClusterInfo: true,
    },
    runs: () => readFileSync(join(folder, 'runs'), 'utf8').split('\n').length - 1,
    info: () => JSON.parse(readFileSync(join(folder, 'info'), 'utf8')) as unknown,
  };
}

describe('a kubeconfig', () => {
  test('gives server, certificates from data and namespace', async () => {
    const user = { 'client-certificate-data': base64('CERT'), 'client-key-data': base64('KEY') };
    const cluster = { 'certificate-authority-data': base64('CA'), 'tls-server-name': 'kubernetes' };
    const access = await loadKubeconfig(save('config', config(user, cluster, { namespace: 'web' })));
    expect(access).toMatchObject({
      server: 'https://10.0.0.1:6443',
      certificateAuthority: 'CA',
      tlsServerName: 'kubernetes',
      namespace: 'web',
    });
    expect(await access.credentials(false)).toMatchObject({ certificate: 'CERT', key: 'KEY' });
  });

  test('files are relative to it, and a token file is read anew on refresh', async () => {
    save('ca.crt', 'CA');
    save('token', 'first\n');
    const access = await loadKubeconfig(
      save('config', config({ tokenFile: 'token' }, { 'certificate-authority': 'ca.crt' })),
    );
    expect(access.certificateAuthority).toBe('CA');
    expect(await access.credentials(false)).toMatchObject({ authorization: 'Bearer first' });
    save('token', 'second');
    expect(await access.credentials(false)).toMatchObject({ authorization: 'Bearer first' });
    expect(await access.credentials(true)).toMatchObject({ authorization: 'Bearer second' });
  });

  test.each([
    [{ token: 't' }, 'Bearer t'],
    [{ username: 'me', password: 'pw' }, `Basic ${base64('me:pw')}`],
    [{}, undefined],
  ])('credentials %j', async (user, authorization) => {
    const access = await loadKubeconfig(save('config', config(user)));
    expect((await access.credentials(false)).authorization).toBe(authorization);
  });

  test('several files of KUBECONFIG are one: the first that names a thing wins, missing ones are passed over', async () => {
    const first = save('first', { users: [{ name: 'u', user: { token: 'from-first' } }] });
    const second = save('second', config({ token: 'from-second' }));
    process.env['KUBECONFIG'] = `${first}:${join(folder, 'missing')}:${second}`;
    const access = await loadKubeconfig();
    expect(await access.credentials(false)).toMatchObject({ authorization: 'Bearer from-first' });
  });

  test('another context than the current one', async () => {
    const two = config({ token: 'a' }) as { contexts: object[]; users: object[] };
    two.contexts.push({ name: 'there', context: { cluster: 'c', user: 'other', namespace: 'far' } });
    two.users.push({ name: 'other', user: { token: 'b' } });
    const access = await loadKubeconfig(save('config', two), { context: 'there' });
    expect(access.namespace).toBe('far');
    expect(await access.credentials(false)).toMatchObject({ authorization: 'Bearer b' });
  });

  test.each([
    ['current-context: nowhere\n', 'contexts', 'nowhere'],
    ['clusters: {}\n', 'clusters', 'expected array'],
    ['a: [\n', 'file', 'is not YAML'],
    [stringify(config({ token: 1 })), 'users[name=u].user.token', 'expected string'],
    [stringify(config({}, { server: 'ftp://x' })), 'clusters[name=c].cluster.server', 'URL'],
    [
      stringify(config({}, { 'certificate-authority': 'gone.crt' })),
      'certificate-authority',
      'cannot be read',
    ],
    [stringify(config({ 'client-certificate-data': base64('x') })), 'client-key', 'belong together'],
    [stringify(config({ 'auth-provider': { name: 'gcp' } })), 'auth-provider', 'exec plugin'],
    [stringify(config({ as: 'root' })), 'users[name=u].user.as', 'impersonation'],
    [stringify(config({}, { 'proxy-url': 'http://p' })), 'proxy-url', 'not supported'],
  ])('that is wrong is refused with file and field: %j', async (text, field, words) => {
    const path = save('config', text);
    const error = await loadKubeconfig(path).catch((error: unknown) => error as Error);
    expect(error).toMatchObject({ code: 'KUBECONFIG_INVALID' });
    expect((error as Error).message).toContain(path);
    expect((error as Error).message).toContain(field);
    expect((error as Error).message).toContain(words);
  });

  test('that is not there is named', async () => {
    await expect(loadKubeconfig(join(folder, 'nothing'))).rejects.toMatchObject({
      code: 'KUBECONFIG_MISSING',
      message: expect.stringContaining('nothing') as string,
    });
  });
});

describe('a credential plugin', () => {
  test('is asked once until its credentials expire, and told the cluster', async () => {
    const { exec, runs, info } = plugin({
      token: 'secret',
      expirationTimestamp: new Date(Date.now() + 60_000).toISOString(),
    });
    const access = await loadKubeconfig(save('config', config({ exec })));
    expect(await access.credentials(false)).toMatchObject({ authorization: 'Bearer secret' });
    await access.credentials(false);
    expect(runs()).toBe(1);
    expect(info()).toMatchObject({
      kind: 'ExecCredential',
      spec: { interactive: false, cluster: { server: 'https://10.0.0.1:6443' } },
    });
    await access.credentials(true);
    expect(runs()).toBe(2);
  });

  test('is asked again after they have expired', async () => {
    const { exec, runs } = plugin({ token: 'old', expirationTimestamp: '2020-01-01T00:00:00Z' });
    const access = await loadKubeconfig(save('config', config({ exec })));
    await access.credentials(false);
    await access.credentials(false);
    expect(runs()).toBe(2);
  });

  test('may give a certificate', async () => {
    const { exec } = plugin({ clientCertificateData: 'CERT', clientKeyData: 'KEY' });
    const access = await loadKubeconfig(save('config', config({ exec })));
    expect(await access.credentials(false)).toMatchObject({ certificate: 'CERT', key: 'KEY' });
  });

  test('that fails is named, with its hint', async () => {
    const exec = {
      apiVersion: 'client.authentication.k8s.io/v1',
      command: '/does/not/exist',
      installHint: 'install it from somewhere',
    };
    const access = await loadKubeconfig(save('config', config({ exec })));
    await expect(access.credentials(false)).rejects.toMatchObject({
      code: 'EXEC_PLUGIN',
      hint: 'install it from somewhere',
    });
  });
});

describe('inside of a pod', () => {
  test('the service account gives address, authority, namespace and a token that is read anew', async () => {
    save('ca.crt', 'CA');
    save('token', 'one');
    save('namespace', 'kube-system\n');
    const environment = { KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '443' };
    const access = await inClusterAccess(environment, folder);
    expect(access).toMatchObject({
      server: 'https://[fd00::1]:443',
      certificateAuthority: 'CA',
      namespace: 'kube-system',
    });
    save('token', 'two');
    expect(await access.credentials(true)).toEqual({ authorization: 'Bearer two' });
  });

  test('what is missing is named', async () => {
    await expect(inClusterAccess({}, folder)).rejects.toMatchObject({ code: 'NOT_IN_CLUSTER' });
    const environment = { KUBERNETES_SERVICE_HOST: '10.96.0.1', KUBERNETES_SERVICE_PORT: '443' };
    await expect(inClusterAccess(environment, folder)).rejects.toMatchObject({
      code: 'NOT_IN_CLUSTER',
      message: expect.stringContaining(folder) as string,
    });
  });
});
