import { expect, test } from 'vitest';
import { FakeIptables } from '../../kernel/iptables/fake.ts';
import { Cidr } from '../../net/cidr.ts';
import { applyIptablesMasquerade } from './iptables-masquerade.ts';

const range = { podCidr: Cidr.parse('10.244.1.0/24'), network: Cidr.parse('10.244.0.0/16') };

test("the chain makes flannel's decisions in flannel's order, and is jumped to once", async () => {
  const iptables = new FakeIptables();
  await applyIptablesMasquerade(iptables, range, 14);
  await applyIptablesMasquerade(iptables, range, 14);
  const saved = (await iptables.save('nat')).split('\n').filter((line) => line.includes('FLATNET'));
  expect(saved).toEqual([
    ':FLATNET-POSTRTG - [0:0]',
    '-A POSTROUTING -m comment --comment "pod traffic that leaves the cluster" -j FLATNET-POSTRTG',
    '-A FLATNET-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN',
    '-A FLATNET-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -j RETURN',
    '-A FLATNET-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN',
    '-A FLATNET-POSTRTG ! -s 10.244.1.0/24 -d 10.244.1.0/24 -j RETURN',
    '-A FLATNET-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully',
    '-A FLATNET-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully',
  ]);
});

test('switched off, nothing of it stays, and what others have does', async () => {
  const iptables = new FakeIptables();
  iptables.restore('*nat\n-A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE\nCOMMIT\n');
  const before = await iptables.save('nat');
  await applyIptablesMasquerade(iptables, range, 14);
  await applyIptablesMasquerade(iptables, undefined, 14);
  expect(await iptables.save('nat')).toBe(before);
});
