import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { IpsetSocket } from '../ipset/ipset-socket.ts';
import { Netns } from '../netns/netns.ts';
import { openIptables } from './open.ts';
import type { IptablesRule } from './rule.ts';

let netns: Netns;
let ipset: IpsetSocket;

beforeEach(() => {
  netns = Netns.createAnonymous();
  ipset = IpsetSocket.open(netns.fd);
});

afterEach(() => {
  ipset.close();
  netns.close();
});

const lookingAt = (
  set: string,
  of: readonly ('src' | 'dst')[],
  more: Partial<IptablesRule> = {},
): IptablesRule => ({
  ...more,
  matches: [
    { kind: 'comment', text: `for ${set}` },
    { kind: 'set', set, of },
  ],
  target: { kind: 'verdict', verdict: 'RETURN' },
});

test.for([4, 6] as const)('IPv%i: rules that look at sets are what iptables writes', async (family) => {
  // The first has the number 0, as what is not filled in would have.
  for (const name of ['FNT-OTHER', 'FNT-PORTS', 'FNT-THREE']) {
    ipset.create({ name, type: name === 'FNT-THREE' ? 'hash:ip,port,ip' : 'hash:ip,port', family });
  }
  const rules: IptablesRule[] = [
    lookingAt('FNT-PORTS', ['dst', 'dst']),
    lookingAt('FNT-OTHER', ['src', 'dst'], { protocol: 'tcp' }),
    lookingAt('FNT-THREE', ['dst', 'dst', 'src']),
    { matches: [{ kind: 'set', set: 'FNT-THREE', of: ['src', 'src', 'dst'], not: true }] },
  ];
  const kernel = await openIptables({ family, variant: 'legacy', netns: netns.fd, inProcess: true });
  const keys = rules.map((rule) => kernel.key(rule));
  const tool = await openIptables({ family, variant: 'legacy', netns: netns.fd });
  await tool.apply([{ operation: 'write-chain', table: 'nat', chain: 'KUBE-A', rules }]);
  expect((await kernel.read('nat')).rules('KUBE-A')).toEqual(keys);
  await kernel.apply([{ operation: 'write-chain', table: 'mangle', chain: 'KUBE-A', rules }]);
  expect((await kernel.read('mangle')).rules('KUBE-A')).toEqual(keys);
  expect((await tool.read('mangle')).rules('KUBE-A')).toEqual(rules.map((rule) => tool.key(rule)));
  expect(keys.map((key) => kernel.looksAtSets(key))).toEqual([true, true, true, true]);
  expect(kernel.looksAtSets(kernel.key({ matches: [{ kind: 'comment', text: 'a P set' }] }))).toBe(false);
  kernel.close();
  tool.close();
});

test('a set that is not there is named', async () => {
  const kernel = await openIptables({ family: 4, variant: 'legacy', netns: netns.fd, inProcess: true });
  const write = kernel.apply([
    {
      operation: 'write-chain',
      table: 'nat',
      chain: 'KUBE-A',
      rules: [lookingAt('FNT-NONE', ['dst', 'dst'])],
    },
  ]);
  await expect(write).rejects.toMatchObject({ code: 'IPSET_MISSING' });
  expect(await run('iptables-legacy', ['-t', 'nat', '-S'], { netns: netns.fd })).toMatchObject({
    stdout: expect.not.stringContaining('KUBE-A') as string,
  });
  kernel.close();
});
