import { afterEach, expect, test } from 'vitest';
import { run } from '../../src/kernel/exec/run.ts';
import { createNetns, deleteNetns } from '../../src/kernel/netns/netns.ts';

afterEach(() => {
  deleteNetns('fnt-machine');
});

test('IPVS loads on demand, and a virtual server is there in its namespace only', async () => {
  createNetns('fnt-machine');
  const inside = ['netns', 'exec', 'fnt-machine', 'ipvsadm'];
  await run('ip', [...inside, '-A', '-t', '10.96.0.1:80', '-s', 'wrr']);
  expect((await run('ip', [...inside, '-ln'])).stdout).toContain('TCP  10.96.0.1:80 wrr');
  expect((await run('ipvsadm', ['-ln'])).stdout).not.toContain('10.96.0.1');
});

test.each(['iptables-legacy', 'ip6tables-legacy'])('%s takes a rule with an ipset', async (iptables) => {
  createNetns('fnt-machine');
  const inside = ['netns', 'exec', 'fnt-machine'];
  const family = iptables.startsWith('ip6') ? 'inet6' : 'inet';
  await run('ip', [...inside, 'ipset', 'create', 'FNT', 'hash:ip,port', 'family', family]);
  const rule = ['-m', 'set', '--match-set', 'FNT', 'dst,dst', '-m', 'mark', '--mark', '0x4000/0x4000'];
  await run('ip', [...inside, iptables, '-t', 'nat', '-A', 'OUTPUT', ...rule, '-j', 'RETURN']);
  const rules = await run('ip', [...inside, iptables, '-t', 'nat', '-S', 'OUTPUT']);
  expect(rules.stdout).toContain('--match-set FNT dst,dst');
});
