import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { createNetns, deleteNetns, Netns } from '../netns/netns.ts';
import type { IptablesVariant } from './objects.ts';
import { chooseVariant } from './variant.ts';

const NAME = `fnt-ipv${process.pid}`;
let netns: Netns;

beforeEach(() => {
  createNetns(NAME);
  netns = Netns.named(NAME);
});

afterEach(() => {
  netns.close();
  deleteNetns(NAME);
});

const tool = async (variant: IptablesVariant, ...args: string[]) =>
  run(`iptables-${variant}`, ['-w', ...args], { netns: netns.fd });

const chosen = async (wanted?: IptablesVariant): Promise<string> =>
  (await chooseVariant(wanted, netns.fd)).variant;

test("kubelet's chain decides, whichever variant has more rules", async () => {
  await tool('legacy', '-t', 'mangle', '-N', 'KUBE-KUBELET-CANARY');
  for (const mark of ['1', '2']) await tool('nft', '-A', 'INPUT', '-m', 'mark', '--mark', mark);
  expect(await chosen()).toBe('legacy');
  await tool('nft', '-t', 'mangle', '-N', 'KUBE-IPTABLES-HINT');
  expect(await chosen()).toBe('nft');
  expect(await chosen('legacy')).toBe('legacy');
});

test('without kubelet the one with more rules; nf_tables if there are none', async () => {
  expect(await chosen()).toBe('nft');
  await tool('legacy', '-A', 'INPUT', '-m', 'mark', '--mark', '1');
  expect(await chosen()).toBe('legacy');
  for (const mark of ['1', '2']) await tool('nft', '-A', 'INPUT', '-m', 'mark', '--mark', mark);
  expect(await chosen()).toBe('nft');
});
