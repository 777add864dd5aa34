import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { addressField, endpointData, indexField, portField } from './field.ts';
import { NftSocket } from './nft-socket.ts';
import type { NftElement, NftSet } from './objects.ts';

const table = { family: 'ip', name: 'fnt-test' } as const;
const map: NftSet = { table, name: 'm', kind: 'map' };
const vmap: NftSet = { table, name: 'v', kind: 'vmap' };
const timed: NftSet = { table, name: 't', kind: 'set' };

let netns: Netns;
let nft: NftSocket;

beforeEach(async () => {
  netns = Netns.createAnonymous();
  nft = NftSocket.open({ netns: netns.fd });
  await nft.load(`
    add table ip fnt-test
    add map ip fnt-test m { type ipv4_addr . inet_service . mark : ipv4_addr . inet_service; }
    add map ip fnt-test v { type mark : verdict; }
    add set ip fnt-test t { type ipv4_addr; flags timeout; }
    add chain ip fnt-test there
  `);
});

afterEach(() => {
  nft.close();
  netns.close();
});

const element = (number: number): NftElement => ({
  key: addressField('10.96.0.1') + portField(80) + indexField(number),
  value: endpointData('10.244.0.1', number % 65_536),
});

async function listed(what: string): Promise<string> {
  return (await run('nft', ['list', what, 'ip', 'fnt-test', 'm'], { netns: netns.fd })).stdout;
}

test('elements that are added are what nft lists, and what is read back', async () => {
  nft.commit([{ operation: 'add', set: map, elements: [element(3)] }]);
  expect(await listed('map')).toContain('10.96.0.1 . 80 . 0x00000003 : 10.244.0.1 . 3');
  expect(nft.elements(map)).toEqual([element(3)]);
  expect(nft.has(map, element(3))).toBe(true);
  expect(nft.has(map, element(4))).toBe(false);
  expect(nft.has(map, { ...element(3), value: endpointData('10.244.0.1', 4) })).toBe(false);
});

test('20,000 elements go in one transaction', () => {
  const elements = Array.from({ length: 20_000 }, (_, number) => element(number));
  nft.commit([{ operation: 'add', set: map, elements }]);
  // Read at once, while the kernel still enlarges the table: all of them nevertheless.
  const read = nft.elements(map).map(({ key }) => key);
  expect(new Set(read)).toEqual(new Set(elements.map(({ key }) => key)));
  nft.commit([{ operation: 'delete', set: map, elements: elements.slice(1) }]);
  expect(nft.elements(map)).toEqual([element(0)]);
});

test('a refused change undoes the whole transaction and says which set and element', () => {
  const changes = [
    { operation: 'add', set: map, elements: [element(1)] },
    { operation: 'delete', set: timed, elements: [{ key: addressField('10.0.0.9') }] },
  ] as const;
  expect(() => nft.commit(changes)).toThrow(/delete element 0x0a000009 in set ip fnt-test t: ENOENT/);
  expect(nft.elements(map)).toEqual([]);
});

test('a verdict leads only to a chain that is there, or that the same transaction makes before', () => {
  const lead = (chain: string) =>
    ({ operation: 'add', set: vmap, elements: [{ key: indexField(1), value: `goto ${chain}` }] }) as const;
  expect(() => nft.commit([lead('missing')])).toThrow(/ENOENT/);
  nft.commit([{ operation: 'write-chain', table, chain: 'new', rules: [] }, lead('new')]);
  expect(nft.elements(vmap)).toEqual([{ key: indexField(1), value: 'goto new' }]);
  expect(nft.chains(table)?.sort()).toEqual(['new', 'there']);
});

test('elements with a time of their own tell what is left of it; one that is gone can be destroyed', () => {
  const key = addressField('10.0.0.1');
  nft.commit([{ operation: 'add', set: timed, elements: [{ key, timeoutMs: 60_000 }] }]);
  const [found] = nft.elements(timed);
  expect(found).toMatchObject({ key, timeoutMs: 60_000 });
  expect(found?.expiresMs).toBeGreaterThan(50_000);
  nft.commit([{ operation: 'destroy', set: timed, elements: [{ key }, { key: addressField('10.0.0.2') }] }]);
  expect(nft.elements(timed)).toEqual([]);
});

test('the generation grows with every transaction of anybody, and with nothing else', async () => {
  const before = nft.generation();
  nft.elements(map);
  expect(nft.generation()).toBe(before);
  nft.commit([{ operation: 'add', set: map, elements: [element(1)] }]);
  const own = nft.generation();
  expect(own).toBeGreaterThan(before);
  await run('nft', ['add', 'table', 'ip', 'somebody-else'], { netns: netns.fd });
  expect(nft.generation()).toBeGreaterThan(own);
});

test('a table that is not there has no chains', () => {
  expect(nft.chains({ family: 'ip6', name: 'fnt-test' })).toBeUndefined();
});
