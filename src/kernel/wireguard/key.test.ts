import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import pino from 'pino';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadOrCreateKey } from './key-file.ts';
import { isPublicKey, SecretKey } from './key.ts';

let folder: string;
let lines: string[];
const logger = () => pino({}, { write: (line: string) => void lines.push(line) });

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'fnt-wgkey-'));
  lines = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('keys', () => {
  test('the public half is that of RFC 7748', () => {
    const key = SecretKey.fromBytes(
      Buffer.from('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb', 'hex'),
    );
    expect(Buffer.from(key.publicKey(), 'base64').toString('hex')).toBe(
      'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f',
    );
  });

  test('a key shows itself to nobody, but tells itself from another', () => {
    const key = SecretKey.generate();
    const secret = key.reveal();
    for (const shown of [key.toString(), JSON.stringify({ key }), inspect({ key }, { showHidden: true })]) {
      expect(shown).not.toContain(secret.toString('base64'));
      expect(shown).not.toContain(secret.toString('hex'));
    }
    expect(JSON.stringify(key)).not.toBe(JSON.stringify(SecretKey.generate()));
    expect(key.equals(SecretKey.fromBytes(secret))).toBe(true);
  });

  test.each(['', 'abc', 'A'.repeat(44), 'A'.repeat(43), `${'A'.repeat(42)}B=`, `${'A'.repeat(43)}= `])(
    '%j is no key, and the error does not repeat it',
    (text) => {
      expect(() => SecretKey.parse(text)).toThrow(/^not a WireGuard key: it has \d+ characters$/);
    },
  );

  test('public keys: canonical base64 of 32 bytes, not all zero', () => {
    expect(isPublicKey(SecretKey.generate().publicKey())).toBe(true);
    expect(isPublicKey(`${'A'.repeat(43)}=`)).toBe(false);
    expect(isPublicKey('x; rm -rf /')).toBe(false);
  });
});

describe('the key file', () => {
  test('is made with mode 0600 in its folder, and read again', () => {
    const path = join(folder, 'deep', 'er', 'wgkey');
    const key = loadOrCreateKey(path, logger());
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readdirSync(join(folder, 'deep', 'er'))).toEqual(['wgkey']);
    expect(SecretKey.parse(readFileSync(path, 'utf8').trim()).equals(key)).toBe(true);
    expect(loadOrCreateKey(path, logger()).equals(key)).toBe(true);
    expect(lines.join()).toContain(key.publicKey());
    expect(lines.join()).not.toContain(key.reveal().toString('base64'));
  });

  test("flannel's own is taken as it is: mode 0400, no newline", () => {
    const path = join(folder, 'wgkey');
    const key = SecretKey.generate();
    writeFileSync(path, key.reveal().toString('base64'), { mode: 0o400 });
    expect(loadOrCreateKey(path, logger()).equals(key)).toBe(true);
    expect(lines).toEqual([]);
  });

  test('one that others can read is used, with a warning that names it', () => {
    const path = join(folder, 'wgkey');
    loadOrCreateKey(path, logger());
    chmodSync(path, 0o640);
    lines = [];
    loadOrCreateKey(path, logger());
    expect(JSON.parse(lines[0] ?? '{}')).toMatchObject({ level: 40, path, mode: '0640' });
  });

  test('one that others can write is refused', () => {
    const path = join(folder, 'wgkey');
    loadOrCreateKey(path, logger());
    chmodSync(path, 0o620);
    expect(() => loadOrCreateKey(path, logger())).toThrow(
      `WireGuard key file ${path}: can be written by others than its owner (mode 0620)`,
    );
  });

  test.each(['', 'not a key', `${'A'.repeat(43)}=\n${'A'.repeat(43)}=`])(
    'content %j is refused, left alone and not repeated',
    (content) => {
      const path = join(folder, 'wgkey');
      writeFileSync(path, content, { mode: 0o600 });
      expect(() => loadOrCreateKey(path, logger())).toThrow(/^WireGuard key file \S+: not a WireGuard key/);
      expect(() => loadOrCreateKey(path, logger())).not.toThrow(/not a key|AAAA/);
      expect(readFileSync(path, 'utf8')).toBe(content);
    },
  );

  test('where none can be written, the error names the file', () => {
    writeFileSync(join(folder, 'file'), '');
    const path = join(folder, 'file', 'wgkey');
    expect(() => loadOrCreateKey(path, logger())).toThrow(`WireGuard key file ${path}: cannot be`);
    expect(existsSync(path)).toBe(false);
  });
});
