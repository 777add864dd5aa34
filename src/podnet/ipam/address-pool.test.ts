import fc from 'fast-check';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { AddressPool } from './address-pool.ts';

const SMALL = [Cidr.parse('10.244.1.0/28'), Cidr.parse('fd00:10:244:1::/64')];
const owner = (n: number) => ({ containerId: `container-${n}`, ifName: 'eth0' });

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flatnet-ipam-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

const addressFiles = (): string[] => readdirSync(folder).filter((name) => Ip.tryParse(name) !== undefined);

describe('host-local layout', () => {
  test('the folder is made with its parents; one that cannot be made is an error, not an endless try', () => {
    expect(AddressPool.open(join(folder, 'a', 'b'), SMALL).size).toBe(0);
    expect(() => AddressPool.open('/proc/flatnet/networks', SMALL)).toThrow(
      'cannot open /proc/flatnet/networks: ENOENT',
    );
    writeFileSync(join(folder, 'file'), '');
    expect(() => AddressPool.open(join(folder, 'file'), SMALL)).toThrow('ENOTDIR');
    expect(() => AddressPool.open(join(folder, 'file', 'x'), SMALL)).toThrow('ENOTDIR');
  });

  test('first pod gets .2 of each family, written as host-local writes it', () => {
    const pool = AddressPool.open(folder, SMALL);
    expect(
      pool
        .reserve(owner(1))
        .map(({ ip, gateway, prefixLength }) => `${ip.toString()}/${prefixLength} via ${gateway.toString()}`),
    ).toEqual(['10.244.1.2/28 via 10.244.1.1', 'fd00:10:244:1::2/64 via fd00:10:244:1::1']);
    expect(readdirSync(folder).sort()).toEqual(
      ['10.244.1.2', 'fd00:10:244:1::2', 'last_reserved_ip.0', 'last_reserved_ip.1', 'lock'].sort(),
    );
    expect(readFileSync(join(folder, '10.244.1.2'), 'utf8')).toBe('container-1\r\neth0');
    expect(statSync(join(folder, '10.244.1.2')).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(folder, 'last_reserved_ip.1'), 'utf8')).toBe('fd00:10:244:1::2');
  });

  test('reservations of host-local are honoured, also the old ones without interface', () => {
    writeFileSync(join(folder, '10.244.1.2'), 'abc\r\neth0');
    writeFileSync(join(folder, '10.244.1.3'), 'old');
    writeFileSync(join(folder, 'last_reserved_ip.0'), '10.244.1.14');
    const pool = AddressPool.open(folder, SMALL.slice(0, 1));
    expect(pool.reserve(owner(1))[0]?.ip.toString()).toBe('10.244.1.4');
    expect(pool.release({ containerId: 'old', ifName: 'eth0' }).map(String)).toEqual(['10.244.1.3']);
    expect(addressFiles()).toEqual(['10.244.1.2', '10.244.1.4']);
  });

  test('an address is not handed out again before the round is over, also across a restart', () => {
    const first = AddressPool.open(folder, SMALL);
    first.reserve(owner(1));
    first.release(owner(1));
    expect(AddressPool.open(folder, SMALL).reserve(owner(2))[0]?.ip.toString()).toBe('10.244.1.3');
  });
});

describe('refusals', () => {
  test('a second ADD of one interface names the address it has', () => {
    const pool = AddressPool.open(folder, SMALL);
    pool.reserve(owner(1));
    expect(() => pool.reserve(owner(1))).toThrow('container container-1 already has 10.244.1.2 for eth0');
  });

  test('an exhausted range is named, nothing is left of the try, and a release makes room', () => {
    const pool = AddressPool.open(folder, [SMALL[1] as Cidr, SMALL[0] as Cidr]);
    for (let n = 0; n < 13; n += 1) pool.reserve(owner(n));
    expect(() => pool.reserve(owner(99))).toThrow(
      /no address is free in pod CIDR 10\.244\.1\.0\/28: all 13 .*flatnet-ipam-/,
    );
    expect(addressFiles()).toHaveLength(26);
    pool.release(owner(5));
    expect(pool.reserve(owner(99)).map(({ ip }) => ip.toString())).toContain('10.244.1.7');
  });

  test('a folder that is a file is named with the remedy', () => {
    const path = join(folder, 'net');
    writeFileSync(path, '');
    expect(() => AddressPool.open(path, SMALL)).toThrow(new RegExp(`cannot open ${path}`));
  });

  test('an owner that would not read back is refused', () => {
    const pool = AddressPool.open(folder, SMALL);
    expect(() => pool.reserve({ containerId: 'a\r\nb', ifName: 'eth0' })).toThrow(/CNI_CONTAINERID/);
    expect(() => AddressPool.open(folder, [Cidr.parse('10.0.0.0/31')])).toThrow('no room');
  });
});

describe('reclaim', () => {
  test('frees only the dead, the ownerless and nothing younger than the limit', () => {
    const pool = AddressPool.open(folder, SMALL.slice(0, 1));
    pool.reserve(owner(1));
    pool.reserve(owner(2));
    mkdirSync(join(folder, 'ignored'));
    expect(pool.reclaim(() => false, 60_000, Date.now())).toEqual([]);
    const later = Date.now() + 61_000;
    const freed = pool.reclaim(({ containerId }) => containerId === 'container-2', 60_000, later);
    expect(freed.map(({ ip }) => ip.toString())).toEqual(['10.244.1.2']);
    expect(addressFiles()).toEqual(['10.244.1.3']);
  });

  test('a folder named like an address blocks that address and nothing else', () => {
    mkdirSync(join(folder, '10.244.1.2'));
    const pool = AddressPool.open(folder, SMALL.slice(0, 1));
    expect(pool.reserve(owner(1))[0]?.ip.toString()).toBe('10.244.1.3');
    mkdirSync(join(folder, '10.244.1.4'));
    expect(pool.reserve(owner(2))[0]?.ip.toString()).toBe('10.244.1.5');
    const freed = pool.reclaim(() => false, 0, Date.now() + 1000);
    expect(freed.map(({ ip }) => ip.toString()).sort()).toEqual(['10.244.1.3', '10.244.1.5']);
  });

  test('an empty file left by a crash blocks its address until reclaimed', () => {
    writeFileSync(join(folder, '10.244.1.2'), '');
    const pool = AddressPool.open(folder, SMALL.slice(0, 1));
    expect(pool.reserve(owner(1))[0]?.ip.toString()).toBe('10.244.1.3');
    expect(pool.reclaim(() => true, 0, Date.now() + 1000).map(({ ip }) => ip.toString())).toEqual([
      '10.244.1.2',
    ]);
  });
});

interface Step {
  readonly kind: 'reserve' | 'release' | 'reopen' | 'foreign';
  readonly n: number;
}

const MODEL_CIDR = Cidr.parse('10.9.0.0/28');
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('reserve', 'reserve', 'reserve', 'release', 'reopen', 'foreign'),
  n: fc.integer({ min: 0, max: 17 }),
});

/** What a plain map of address to container says should happen; an address that is to be chosen is "free". */
function expected(model: ReadonlyMap<string, string>, { kind, n }: Step): string {
  const held = [...model].find(([, id]) => id === owner(n).containerId)?.[0];
  if (kind === 'release') return held ?? 'nothing';
  if (kind !== 'reserve') return 'done';
  if (held !== undefined) return 'DUPLICATE_ADD';
  return model.size === 13 ? 'POD_CIDR_EXHAUSTED' : 'free';
}

function reserveIn(pool: AddressPool, model: Map<string, string>, n: number): string {
  try {
    const ip = pool.reserve(owner(n))[0]?.ip ?? Ip.parse('0.0.0.0');
    const index = Number(ip.value - MODEL_CIDR.first.value);
    const free = !model.has(ip.toString()) && index >= 2 && index <= 14;
    model.set(ip.toString(), owner(n).containerId);
    return free ? 'free' : `${ip.toString()} is not free`;
  } catch (error) {
    return error instanceof FlatnetError ? error.code : String(error);
  }
}

function releaseIn(pool: AddressPool, model: Map<string, string>, n: number): string {
  const freed = pool.release(owner(n)).map((ip) => ip.toString());
  for (const ip of freed) model.delete(ip);
  return freed.join(',') || 'nothing';
}

function foreignFile(path: string, model: Map<string, string>, n: number): void {
  const ip = MODEL_CIDR.at(2 + (n % 13)).toString();
  if (model.has(ip)) return;
  writeFileSync(join(path, ip), `foreign-${n}\r\neth0`);
  model.set(ip, `foreign-${n}`);
}

test('agrees with a plain model over any sequence of reserve, release, restart and foreign files', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const path = mkdtempSync(join(folder, 'run-'));
      const model = new Map<string, string>();
      let pool = AddressPool.open(path, [MODEL_CIDR]);
      for (const each of steps) {
        const wanted = expected(model, each);
        let got = 'done';
        if (each.kind === 'reopen') pool = AddressPool.open(path, [MODEL_CIDR]);
        else if (each.kind === 'foreign') foreignFile(path, model, each.n);
        else if (each.kind === 'release') got = releaseIn(pool, model, each.n);
        else got = reserveIn(pool, model, each.n);
        expect(got).toBe(wanted);
      }
      const onDisk = readdirSync(path).filter((name) => Ip.tryParse(name) !== undefined);
      expect(onDisk.sort()).toEqual([...model.keys()].sort());
    }),
    { numRuns: 60 },
  );
});
