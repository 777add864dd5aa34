import fc from 'fast-check';
import { appendFileSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLogger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import { Mac } from '../../net/mac.ts';
import { NO_RUNTIME_CONFIG } from '../protocol/runtime-config.ts';
import { AttachmentFolder } from './attachment-folder.ts';
import type { AttachmentRecord } from './attachment-record.ts';
import { formatRecord, parseRecord } from './record-codec.ts';

const logger = createLogger('cni', 'silent');
let path = '';

beforeEach(() => {
  path = join(mkdtempSync(join(tmpdir(), 'flatnet-attachments-')), 'cbr0');
});
afterEach(() => rmSync(join(path, '..'), { recursive: true, force: true }));

const plain: AttachmentRecord = {
  containerId: 'c1',
  ifName: 'eth0',
  network: 'cbr0',
  netns: '/run/netns/x',
  pod: undefined,
  mode: 'bridge',
  hostInterface: 'veth0123456789a',
  addresses: [{ ip: Ip.parse('10.244.1.2'), prefixLength: 24, gateway: Ip.parse('10.244.1.1') }],
  hairpin: undefined,
  mtu: undefined,
  pool: undefined,
  runtimeConfig: NO_RUNTIME_CONFIG,
};

const ip = fc.oneof(
  fc.ipV4().map((text) => Ip.parse(text)),
  fc
    .ipV6()
    .filter((text) => !text.includes('.'))
    .map((text) => Ip.parse(text)),
);
const port = fc.integer({ min: 1, max: 65_535 });
const record: fc.Arbitrary<AttachmentRecord> = fc.record({
  containerId: fc.stringMatching(/^[a-z0-9][a-z0-9_.-]{0,63}$/),
  ifName: fc.stringMatching(/^[a-z][a-z0-9]{0,14}$/).filter((name) => !['all', 'default'].includes(name)),
  network: fc.string(),
  netns: fc.string(),
  pod: fc.option(fc.string(), { nil: undefined }),
  mode: fc.constantFrom('bridge', 'ptp'),
  hostInterface: fc.stringMatching(/^veth[0-9a-f]{11}$/),
  addresses: fc.array(
    fc.record({
      ip,
      prefixLength: fc.integer({ min: 0, max: 32 }),
      gateway: fc.option(ip, { nil: undefined }),
    }),
    { maxLength: 3 },
  ),
  hairpin: fc.option(fc.boolean(), { nil: undefined }),
  mtu: fc.option(fc.integer({ min: 68, max: 65_535 }), { nil: undefined }),
  pool: fc.option(fc.record({ network: fc.string(), dataDir: fc.option(fc.string(), { nil: undefined }) }), {
    nil: undefined,
  }),
  runtimeConfig: fc.record({
    portMappings: fc.array(
      fc.record({
        hostPort: port,
        containerPort: port,
        protocol: fc.constantFrom('tcp', 'udp', 'sctp'),
        hostIp: fc.option(ip, { nil: undefined }),
      }),
      { maxLength: 3 },
    ),
    bandwidth: fc.option(
      fc.record({
        ingressRate: fc.nat(),
        ingressBurst: fc.nat(),
        egressRate: fc.nat(),
        egressBurst: fc.nat(),
      }),
      { nil: undefined },
    ),
    ips: fc.array(
      fc.record({ ip, prefixLength: fc.option(fc.integer({ min: 0, max: 32 }), { nil: undefined }) }),
      {
        maxLength: 2,
      },
    ),
    mac: fc.option(fc.constant(Mac.parse('02:00:00:00:00:01')), { nil: undefined }),
    aliases: fc.array(fc.string(), { maxLength: 2 }),
  }),
});

test('what is written reads back as it was', () => {
  fc.assert(
    fc.property(record, (each) => {
      expect(parseRecord(formatRecord(each))).toEqual(each);
    }),
    { numRuns: 50 },
  );
});

const journal = (): string => join(path, 'attachments');
const byId = (records: readonly AttachmentRecord[]): Record<string, AttachmentRecord> =>
  Object.fromEntries(records.map((each) => [each.containerId, each]));
const names = (folder: AttachmentFolder): string[] => folder.all().map(({ ifName }) => ifName);

test('records outlive the process, for root alone, and go when they are deleted', () => {
  const folder = AttachmentFolder.open(path, logger);
  folder.put(plain);
  folder.put({ ...plain, ifName: 'net1' });
  expect(statSync(path).mode & 0o777).toBe(0o700);
  expect(statSync(journal()).mode & 0o777).toBe(0o600);
  const next = AttachmentFolder.open(path, logger);
  expect(next.get(plain)).toEqual(plain);
  next.delete(plain);
  next.delete(plain);
  expect(names(AttachmentFolder.open(path, logger))).toEqual(['net1']);
});

test('whatever happens, in whatever order: a new process knows what the last one knew', () => {
  const key = fc.constantFrom('c1', 'c2', 'c3');
  const step = fc.oneof(
    fc.record({ do: fc.constantFrom('put', 'delete'), key, long: fc.nat(3) }),
    fc.record({ do: fc.constantFrom('open', 'tear', 'lose') }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      rmSync(path, { recursive: true, force: true });
      let folder = AttachmentFolder.open(path, logger);
      const expected = new Map<string, AttachmentRecord>();
      for (const each of steps) {
        if ('key' in each) {
          const put = { ...plain, containerId: each.key, netns: 'x'.repeat(each.long * 30_000) };
          if (each.do === 'put') folder.put(put);
          else folder.delete(put);
          if (each.do === 'put') expected.set(each.key, put);
          else expected.delete(each.key);
        } else if (each.do === 'open') folder = AttachmentFolder.open(path, logger);
        // A process that was killed in the middle of writing.
        else if (each.do === 'tear') appendFileSync(journal(), '{"containerID":"c1","ifn');
        // Somebody clears up while the agent runs; what it does next brings back all that it knows.
        else {
          rmSync(path, { recursive: true, force: true });
          folder.put({ ...plain, containerId: 'c1' });
          expected.set('c1', { ...plain, containerId: 'c1' });
        }
      }
      expect(byId(AttachmentFolder.open(path, logger).all())).toEqual(byId([...expected.values()]));
    }),
    { numRuns: 60 },
  );
});

test('the journal does not grow with the pods that have been', () => {
  const folder = AttachmentFolder.open(path, logger);
  folder.put({ ...plain, ifName: 'stays' });
  for (let n = 0; n < 1000; n += 1) {
    folder.put({ ...plain, containerId: `c${n}` });
    folder.delete({ ...plain, containerId: `c${n}` });
  }
  expect(statSync(journal()).size).toBeLessThan(70_000);
  expect(names(AttachmentFolder.open(path, logger))).toEqual(['stays']);
});

test('files of an earlier version are taken in; what cannot be read is passed over', () => {
  AttachmentFolder.open(path, logger).put(plain);
  appendFileSync(journal(), 'no record\n');
  writeFileSync(join(path, '.c2:eth0.tmp'), '{"cont');
  writeFileSync(join(path, 'c3:eth0.json'), '{"cont');
  writeFileSync(join(path, 'c4:eth0.json'), formatRecord(plain));
  writeFileSync(join(path, 'c1:net1.json'), `${formatRecord({ ...plain, ifName: 'net1' })}\n`);
  const folder = AttachmentFolder.open(path, logger);
  expect(names(folder)).toEqual(['eth0', 'net1']);
  folder.delete({ containerId: 'c3', ifName: 'eth0' });
  expect(readdirSync(path).sort()).toEqual(['attachments', 'c4:eth0.json']);
  folder.delete({ ...plain, ifName: 'net1' });
  expect(names(AttachmentFolder.open(path, logger))).toEqual(['eth0']);
});

test('a folder that is a file is named', () => {
  writeFileSync(path, '');
  expect(() => AttachmentFolder.open(path, logger)).toThrow(`cannot open ${path}`);
});
