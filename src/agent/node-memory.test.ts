import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '../log/logger.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { NodeMemory, type Remembered } from './node-memory.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fnt-memory-'));
});
afterEach(async () => rm(folder, { recursive: true }));

const memory = (changes: Partial<{ store: string; nodeName: string; bootIdFile: string }> = {}): NodeMemory =>
  new NodeMemory({
    subnetFile: join(folder, 'subnet.env'),
    store: 'etcd /coreos.com/network',
    nodeName: 'node-1',
    logger: createLogger('memory', 'silent'),
    ...changes,
  });

const KNOWN: Remembered = {
  networkText: '{ "Network": "10.244.0.0/16", "Backend": {"Type": "wireguard", "PSK": "secret"} }',
  node: {
    name: 'node-1',
    podCidrs: new Map([
      [4, Cidr.parse('10.244.7.0/24')],
      [6, Cidr.parse('fd00:10:244:7::/64')],
    ]),
    internalIps: [Ip.parse('192.0.2.1')],
    published: { type: 'vxlan', data: new Map([[4, { VNI: 1, VtepMAC: '0a:00:00:00:00:01' }]]) },
    publicIpOverwrites: new Map([[4, Ip.parse('198.51.100.1')]]),
    problems: [],
  },
  clusterMtu: 1400,
};

test('what the store told is known after a restart, and root alone may read it', async () => {
  expect(await memory().recall()).toBeUndefined();
  await memory().keep(KNOWN);
  expect(await memory().recall()).toEqual(KNOWN);
  expect((await stat(join(folder, 'flatnet-node.json'))).mode & 0o777).toBe(0o600);
});

test('after a boot it knows nothing, wherever the file is', async () => {
  const bootIdFile = join(folder, 'boot_id');
  await writeFile(bootIdFile, 'one\n');
  await memory({ bootIdFile }).keep(KNOWN);
  expect(await memory({ bootIdFile }).recall()).toEqual(KNOWN);
  await writeFile(bootIdFile, 'two\n');
  expect(await memory({ bootIdFile }).recall()).toBeUndefined();
});

test('of another store or another node nothing is believed', async () => {
  await memory().keep(KNOWN);
  expect(await memory({ store: 'kubernetes' }).recall()).toBeUndefined();
  expect(await memory({ nodeName: 'node-2' }).recall()).toBeUndefined();
});

test.each(['', '{', 'null', '{"store":"etcd /coreos.com/network","node":"node-1"}'])(
  'a file that says %j is as good as none, and is written anew',
  async (text) => {
    await writeFile(join(folder, 'flatnet-node.json'), text);
    expect(await memory().recall()).toBeUndefined();
    await memory().keep(KNOWN);
    expect(await memory().recall()).toEqual(KNOWN);
  },
);

test('a subnet that cannot be read is not guessed', async () => {
  await memory().keep(KNOWN);
  const path = join(folder, 'flatnet-node.json');
  await writeFile(path, (await readFile(path, 'utf8')).replace('10.244.7.0/24', '10.244.7.0'));
  expect(await memory().recall()).toBeUndefined();
});

test('a disk that takes nothing does not keep the node from serving', async () => {
  await writeFile(join(folder, 'file'), '');
  const options = { subnetFile: join(folder, 'file', 'subnet.env'), store: 's', nodeName: 'n' };
  const full = new NodeMemory({ ...options, logger: createLogger('memory', 'silent') });
  await expect(full.keep(KNOWN)).resolves.toBeUndefined();
});
