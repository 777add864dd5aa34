import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Attacher } from '../cni/attacher.ts';
import { AttachmentFolder } from '../cni/attachments/attachment-folder.ts';
import { readRequest, type AddRequest, type GcRequest } from '../cni/protocol/request.ts';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import { createLogger } from '../log/logger.ts';
import { PodPools } from './pod-attachment-pools.ts';

const logger = createLogger('cni', 'silent');
const POINT = { bridge: 'cni0', mtu: 1450, mode: 'bridge' } as const;
const ranges = [[{ subnet: '10.91.0.0/24' }], [{ subnet: 'fd00:91::/64' }]];

let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flatnet-pools-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const request = (command: string, more: object = {}): unknown =>
  readRequest({
    environment: new Map([
      ['CNI_COMMAND', command],
      ['CNI_CONTAINERID', 'c1'],
      ['CNI_NETNS', '/run/netns/none'],
      ['CNI_IFNAME', 'eth0'],
    ]),
    stdin: Buffer.from(
      JSON.stringify({
        cniVersion: '1.1.0',
        name: 'mine',
        type: 'flatnet',
        ipam: { type: 'host-local', ranges },
        ...more,
      }),
    ),
  });

/** An agent's part for pods, on what is on the disk. */
function agent(disk: string): { readonly attacher: Attacher; readonly pools: PodPools } {
  const pools = new PodPools({ dataDir: join(disk, 'networks'), networkName: 'cbr0', reclaim: () => 0 });
  const node = new FakeRouteKernel();
  const attacher = new Attacher({
    kernels: { node, open: () => new FakeRouteKernel() },
    addresses: pools,
    attachments: AttachmentFolder.open(join(disk, 'flatnet', 'cbr0'), logger),
    features: [],
    network: 'cbr0',
    logger,
  });
  return { attacher, pools };
}

const reserved = (disk: string): string[] =>
  readdirSync(join(disk, 'networks', 'mine')).filter((name) => /^[0-9a-f.:]+$/.test(name) && name !== 'lock');

test('an ADD with ranges of its own that is killed behind its reservation is found by the sweep', async () => {
  const { attacher, pools } = agent(join(folder, 'live'));
  const disk = join(folder, 'killed');
  const reserve = pools.reserve.bind(pools);
  pools.reserve = (...args) => {
    const taken = reserve(...args);
    // What a kill at this moment leaves.
    cpSync(join(folder, 'live'), disk, { recursive: true });
    return taken;
  };
  await expect(attacher.add(request('ADD') as AddRequest, POINT)).rejects.toThrow('/run/netns/none');
  expect(reserved(join(folder, 'live'))).toEqual([]);
  expect(reserved(disk)).toEqual(['10.91.0.2', 'fd00:91::2']);
  const next = agent(disk);
  expect(await next.attacher.sweep()).toBe(1);
  expect(reserved(disk)).toEqual([]);
  expect(await agent(disk).attacher.sweep()).toBe(0);
});

test('an ADD that no range has room for leaves no record', async () => {
  const { attacher, pools } = agent(folder);
  const add = request('ADD', { ipam: { type: 'host-local', ranges: [[{ subnet: '10.91.0.0/30' }]] } });
  pools.reserve({ containerId: 'other', ifName: 'eth0' }, [], {
    network: 'mine',
    dataDir: undefined,
    ranges: (add as { config: { ipam: { ranges: never } } }).config.ipam.ranges,
  });
  await expect(attacher.add(add as AddRequest, POINT)).rejects.toMatchObject({ code: 'POD_CIDR_EXHAUSTED' });
  expect(await agent(folder).attacher.sweep()).toBe(0);
  expect(reserved(folder)).toEqual(['10.91.0.2']);
});

test("GC frees what host-local has left in the folder of the network's own ranges", async () => {
  const { attacher, pools } = agent(folder);
  pools.owners({ network: 'mine', dataDir: undefined });
  for (const [ip, id] of Object.entries({ '10.91.0.7': 'kept', '10.91.0.8': 'gone' }))
    writeFileSync(join(folder, 'networks', 'mine', ip), `${id}\r\neth0`);
  expect(existsSync(join(folder, 'networks', 'mine', '10.91.0.8'))).toBe(true);
  const valid = [{ containerID: 'kept', ifname: 'eth0' }];
  const next = agent(folder).attacher;
  await attacher.collect(request('GC', { name: 'other', 'cni.dev/valid-attachments': [] }) as GcRequest);
  await next.collect(request('GC', { 'cni.dev/valid-attachments': valid }) as GcRequest);
  expect(reserved(folder)).toEqual(['10.91.0.7']);
});
