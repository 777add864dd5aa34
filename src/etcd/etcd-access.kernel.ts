import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { EtcdClient } from './etcd-client.ts';
import type { EtcdAccess } from './etcd-access.ts';
import { parseEndpoint } from './endpoint.ts';
import { RealEtcd } from './real-etcd.ts';

let folder: string;
let etcd: RealEtcd | undefined;
const clients: EtcdClient[] = [];
const file = (name: string): string => join(folder, name);

async function openssl(...args: string[]): Promise<void> {
  await promisify(execFile)('openssl', args, { cwd: folder });
}

/** A certificate that `ca` signs, good for 127.0.0.1. */
async function certificate(name: string, ca = 'ca'): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
  await openssl('req', ...key, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
  await writeFile(file('san'), 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n');
  const by = ['-CA', `${ca}.crt`, '-CAkey', `${ca}.key`, '-CAcreateserial', '-days', '2', '-extfile', 'san'];
  await openssl('x509', '-req', '-in', `${name}.csr`, '-out', `${name}.crt`, ...by);
}

async function authority(name: string): Promise<void> {
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
  await openssl('req', '-x509', ...key, '-out', `${name}.crt`, '-days', '2', '-subj', `/CN=${name}`);
}

function open(access: Partial<EtcdAccess> = {}): EtcdClient {
  const client = new EtcdClient(
    { endpoints: [parseEndpoint(etcd?.endpoint ?? '')], ...access },
    { timeoutMs: 3000 },
  );
  clients.push(client);
  return client;
}

const errorOf = async (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fnt-etcd-pki-'));
  await Promise.all([authority('ca'), authority('other-ca')]);
  await certificate('server');
  await certificate('client');
  await certificate('foreign', 'other-ca');
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await etcd?.remove();
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

const tls = (name = 'client'): Partial<EtcdAccess> => ({
  caFile: file('ca.crt'),
  certFile: file(`${name}.crt`),
  keyFile: file(`${name}.key`),
});

const startWithTls = async (): Promise<void> => {
  etcd = await RealEtcd.start([
    `--cert-file=${file('server.crt')}`,
    `--key-file=${file('server.key')}`,
    `--trusted-ca-file=${file('ca.crt')}`,
    '--client-cert-auth',
  ]);
};

const user = { username: 'flannel', password: 'secret' };
const startWithUsers = async (): Promise<RealEtcd> => {
  // Tokens end a second after their last use.
  const one = await RealEtcd.start(['--auth-token-ttl=1']);
  etcd = one;
  await one.ctl('user', 'add', 'root:root');
  await one.ctl('role', 'add', 'net');
  await one.ctl('role', 'grant-permission', 'net', 'readwrite', '/net/', '--prefix=true');
  await one.ctl('user', 'add', 'flannel:secret');
  await one.ctl('user', 'grant-role', 'flannel', 'net');
  return one;
};

const message = async (access: Partial<EtcdAccess>): Promise<string> =>
  String(await errorOf(open({ ...tls(), ...access }).get('/k')));

describe('TLS with client certificates', () => {
  test('serves who has one, and says why others are not served', async () => {
    await startWithTls();
    expect((await open(tls()).get('/k')).found).toBeUndefined();
    for (const access of [
      { ...tls(), caFile: file('other-ca.crt') },
      tls('foreign'),
      { caFile: file('ca.crt') },
      {},
    ]) {
      expect(await errorOf(open(access).get('/k'))).toMatchObject({
        code: 'ETCD_UNAVAILABLE',
        hint: expect.stringContaining('caFile, certFile and keyFile') as string,
      });
    }
  });

  test('a file that is missing or no certificate is named', async () => {
    await startWithTls();
    await writeFile(file('nonsense'), 'nonsense');
    expect(await message({ caFile: '/none' })).toContain('etcd caFile /none: ENOENT');
    expect(await message({ certFile: file('nonsense') })).toContain(`etcd certFile ${file('nonsense')}: `);
    expect(await message({ keyFile: file('foreign.key') })).toContain(
      `etcd keyFile ${file('foreign.key')}: `,
    );
  });

  test('a renewed certificate is taken for the next connection', async () => {
    await startWithTls();
    await certificate('renewed', 'other-ca');
    const client = open(tls('renewed'));
    expect(await errorOf(client.get('/k'))).toMatchObject({ code: 'ETCD_UNAVAILABLE' });
    await certificate('renewed');
    expect((await client.get('/k')).found).toBeUndefined();
  });
});

describe('user and password', () => {
  test('an etcd that asks for none serves all the same', async () => {
    await startWithUsers();
    expect((await open(user).get('/net/k')).found).toBeUndefined();
  });

  test('rights are those of the user; wrong words are told', async () => {
    const one = await startWithUsers();
    await one.ctl('auth', 'enable');
    const client = open(user);
    expect((await client.list('/net/')).keys).toEqual([]);
    const put = { type: 'put', key: '/net/k', value: 'v', leaseId: '0' } as const;
    expect((await client.commit('x', [{ type: 'absent', key: '/net/k' }], [put])).succeeded).toBe(true);
    expect(await errorOf(client.get('/other'))).toMatchObject({
      code: 'ETCD_PERMISSION_DENIED',
      hint: expect.stringContaining('grant-permission') as string,
    });
    const watch = client.watch({ key: '/other', isPrefix: false }, 1, AbortSignal.timeout(5000));
    expect(await errorOf(watch.next())).toMatchObject({ code: 'ETCD_PERMISSION_DENIED' });
    expect(await errorOf(open({ ...user, password: 'wrong' }).get('/net/k'))).toMatchObject({
      code: 'ETCD_AUTH',
    });
    expect(await errorOf(open().get('/net/k'))).toMatchObject({
      code: 'ETCD_AUTH',
      hint: expect.stringContaining('set username') as string,
    });
  });

  test('a token that etcd no longer knows is replaced: after its time, and after etcd was started again', async () => {
    const one = await startWithUsers();
    await writeFile(file('password'), 'secret\n');
    const client = open({ username: 'flannel', passwordFile: file('password') });
    await one.ctl('auth', 'enable');
    const { revision } = await client.list('/net/');
    await one.stop();
    await one.start();
    const put = { type: 'put', key: '/net/k', value: 'v', leaseId: '0' } as const;
    const answer = async (): Promise<unknown> => errorOf(client.commit('x', [], [put]));
    await expect.poll(answer).toBeUndefined();
    await one.stop();
    await one.start();
    // The watch is the first to find out that its token is none any more.
    const watch = client.watch({ key: '/net/', isPrefix: true }, revision + 1, AbortSignal.timeout(5000));
    await errorOf(client.get('/net/k'));
    expect((await watch.next()).done).toBe(false);
    // Renewing, too, which is a stream of its own.
    const { leaseId } = await client.grantLease(60);
    await one.stop();
    await one.start();
    await expect.poll(async () => client.renewLease(leaseId).catch(String)).toBe(60);
  });
});
