import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { createNetns, deleteNetns, Netns } from '../netns/netns.ts';
import type { IptablesChange, IptablesKernel } from './objects.ts';
import { openIptables } from './open.ts';
import type { IptablesRule } from './rule.ts';

const NAME = `fnt-ipl${process.pid}`;
let netns: Netns;
let kernel: IptablesKernel;

beforeEach(async () => {
  createNetns(NAME);
  netns = Netns.named(NAME);
  kernel = await openIptables({ family: 4, variant: 'legacy', netns: netns.fd, inProcess: true });
});

afterEach(() => {
  kernel.close();
  netns.close();
  deleteNetns(NAME);
});

const tool = async (...args: string[]) =>
  run('iptables-legacy', ['-w', '-t', 'nat', ...args], { netns: netns.fd });

const rule = (address: string, chain?: string): IptablesRule => ({
  source: { value: address },
  ...(chain === undefined ? {} : { target: { kind: 'jump', chain } }),
});

const write = (chain: string, ...rules: IptablesRule[]): IptablesChange => ({
  operation: 'write-chain',
  table: 'nat',
  chain,
  rules,
});

const appended = async (): Promise<string[]> =>
  (await kernel.save('nat')).split('\n').filter((line) => line.startsWith('-A'));

test('what another program changed meanwhile is not undone, not even where the size of the table stays', async () => {
  await tool('-A', 'PREROUTING', '-s', '192.0.2.1', '-j', 'RETURN');
  await kernel.apply([write('KUBE-A', rule('10.0.0.1'))]);
  await tool('-R', 'PREROUTING', '1', '-s', '192.0.2.2', '-j', 'RETURN');
  await kernel.apply([write('KUBE-A', rule('10.0.0.2'))]);
  expect(await appended()).toEqual(['-A PREROUTING -s 192.0.2.2/32 -j RETURN', '-A KUBE-A -s 10.0.0.2/32']);
});

test('it is told whether others changed its chains', async () => {
  await kernel.apply([write('KUBE-A', rule('10.0.0.1')), write('KUBE-B', rule('10.0.0.2', 'KUBE-A'))]);
  await kernel.read('nat');
  expect(await kernel.alteredByOthers()).toBe(false);
  await tool('-A', 'PREROUTING', '-s', '192.0.2.1', '-j', 'RETURN');
  expect(await kernel.alteredByOthers()).toBe(false);
  await tool('-R', 'KUBE-A', '1', '-s', '10.0.0.9');
  expect(await kernel.alteredByOthers()).toBe(true);
});

test('chains grow, shrink, come and go in one change, and jumps lead to where they led', async () => {
  const names = ['KUBE-A', 'KUBE-B', 'KUBE-C', 'KUBE-D'];
  await kernel.apply(names.map((name, index) => write(name, rule(`10.0.0.${index}`))));
  await kernel.apply([
    ...names.map(
      (chain, index) =>
        ({
          operation: 'append',
          table: 'nat',
          chain: 'OUTPUT',
          rule: rule(`10.1.0.${index}`, chain),
        }) as const,
    ),
    write('KUBE-D', rule('10.0.0.7', 'KUBE-B'), rule('10.0.0.8'), rule('10.0.0.9', 'KUBE-A')),
  ]);
  await kernel.apply([
    { operation: 'delete', table: 'nat', chain: 'OUTPUT', rule: rule('10.1.0.2', 'KUBE-C') },
    { operation: 'prepend', table: 'nat', chain: 'KUBE-B', rule: rule('10.2.0.1', 'KUBE-E') },
    { operation: 'delete-at', table: 'nat', chain: 'KUBE-D', position: 2 },
    write('KUBE-A'),
    write('KUBE-E', rule('10.3.0.1', 'KUBE-A'), rule('10.3.0.2')),
    { operation: 'delete-chain', table: 'nat', chain: 'KUBE-C' },
  ]);
  expect(await appended()).toEqual([
    '-A OUTPUT -s 10.1.0.0/32 -j KUBE-A',
    '-A OUTPUT -s 10.1.0.1/32 -j KUBE-B',
    '-A OUTPUT -s 10.1.0.3/32 -j KUBE-D',
    '-A KUBE-B -s 10.2.0.1/32 -j KUBE-E',
    '-A KUBE-B -s 10.0.0.1/32',
    '-A KUBE-D -s 10.0.0.7/32 -j KUBE-B',
    '-A KUBE-D -s 10.0.0.9/32 -j KUBE-A',
    '-A KUBE-E -s 10.3.0.1/32 -j KUBE-A',
    '-A KUBE-E -s 10.3.0.2/32',
  ]);
});

test('a change that cannot be made leaves everything as it was', async () => {
  await kernel.apply([write('KUBE-A', rule('10.0.0.1')), write('KUBE-B', rule('10.0.0.2', 'KUBE-A'))]);
  const before = await appended();
  for (const changes of [
    [write('KUBE-C', rule('10.0.0.3', 'KUBE-NOWHERE'))],
    [{ operation: 'delete-chain', table: 'nat', chain: 'KUBE-A' }],
    [{ operation: 'delete', table: 'nat', chain: 'KUBE-A', rule: rule('10.0.0.7') }],
  ] satisfies IptablesChange[][]) {
    await expect(kernel.apply(changes)).rejects.toMatchObject({ code: 'IPTABLES_NOT_FOUND' });
    expect(await appended()).toEqual(before);
  }
  await kernel.apply([write('KUBE-A', rule('10.0.0.5'))]);
  expect(await appended()).toContain('-A KUBE-A -s 10.0.0.5/32');
});

test('chains lie in the order of their names, as the tool is slow where they do not', async () => {
  await tool('-N', 'OTHER');
  await kernel.apply([write('KUBE-F'), write('KUBE-B', rule('10.0.0.1', 'KUBE-F')), write('ZOO')]);
  await kernel.apply([
    write('KUBE-H', rule('10.0.0.2', 'KUBE-A')),
    write('KUBE-A'),
    { operation: 'delete-chain', table: 'nat', chain: 'KUBE-F' },
    write('KUBE-B', rule('10.0.0.3', 'KUBE-C')),
    write('KUBE-C', rule('10.0.0.4', 'OTHER')),
  ]);
  const other = await openIptables({ family: 4, variant: 'legacy', netns: netns.fd, inProcess: true });
  const chains = [...(await other.read('nat')).chains()];
  other.close();
  expect(chains.slice(4)).toEqual(['KUBE-A', 'KUBE-B', 'KUBE-C', 'KUBE-H', 'OTHER', 'ZOO']);
  expect(await appended()).toEqual([
    '-A KUBE-B -s 10.0.0.3/32 -j KUBE-C',
    '-A KUBE-C -s 10.0.0.4/32 -j OTHER',
    '-A KUBE-H -s 10.0.0.2/32 -j KUBE-A',
  ]);
});
