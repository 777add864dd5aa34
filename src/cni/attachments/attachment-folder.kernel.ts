import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runSync } from '../../kernel/exec/run.ts';
import { createLogger } from '../../log/logger.ts';
import { NO_RUNTIME_CONFIG } from '../protocol/runtime-config.ts';
import { AttachmentFolder } from './attachment-folder.ts';
import type { AttachmentRecord } from './attachment-record.ts';

const logger = createLogger('cni', 'silent');
let disk = '';

beforeEach(() => {
  disk = mkdtempSync(join(tmpdir(), 'fnt-small-disk-'));
  runSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', disk]);
});
afterEach(() => {
  runSync('umount', ['-l', disk]);
  rmSync(disk, { recursive: true, force: true });
});

const record = (n: number): AttachmentRecord => ({
  containerId: `c${n}`,
  ifName: 'eth0',
  network: 'cbr0',
  netns: `/run/netns/${'x'.repeat(3000)}`,
  pod: undefined,
  mode: 'bridge',
  hostInterface: 'veth0123456789a',
  addresses: [],
  runtimeConfig: NO_RUNTIME_CONFIG,
});

test('a full disk refuses a record and keeps the others; records go from it all the same', () => {
  const path = join(disk, 'cbr0');
  const folder = AttachmentFolder.open(path, logger);
  folder.put(record(0));
  writeFileSync(join(disk, 'filler'), Buffer.alloc(230_000));
  const put = (): void => {
    for (let n = 1; n < 100; n += 1) folder.put(record(n));
  };
  expect(put).toThrow(/cannot write .*attachments: ENOSPC/);
  const kept = folder.all().map(({ containerId }) => containerId);
  expect(kept.length).toBeGreaterThan(1);
  const idsOnDisk = (): string[] =>
    AttachmentFolder.open(path, logger)
      .all()
      .map(({ containerId }) => containerId);
  expect(idsOnDisk()).toEqual(kept);
  folder.delete(record(0));
  expect(idsOnDisk()).toEqual(kept.slice(1));
  rmSync(join(disk, 'filler'));
  folder.put(record(200));
  expect(idsOnDisk()).toEqual([...kept.slice(1), 'c200']);
});

test('records go from a full disk also when there is no room to make the file shorter', () => {
  const path = join(disk, 'cbr0');
  const folder = AttachmentFolder.open(path, logger);
  for (let n = 0; n < 60; n += 1) folder.put(record(n));
  writeFileSync(join(disk, 'filler'), Buffer.alloc(256_000 - 60 * 3300 - 16_000));
  for (let n = 0; n < 55; n += 1) {
    folder.delete(record(n));
    const left = AttachmentFolder.open(path, logger).all();
    expect(left.map(({ containerId }) => containerId)).toEqual(
      folder.all().map(({ containerId }) => containerId),
    );
  }
  expect(folder.size).toBe(5);
});
