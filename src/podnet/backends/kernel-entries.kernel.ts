import { expect, onTestFinished, test } from 'vitest';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { Netns } from '../../kernel/netns/netns.ts';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { formatEntry, type Entry } from './entry.ts';
import { KernelEntries } from './kernel-entries.ts';

const route = (device: string, range: string, via?: string): Entry => ({
  kind: 'route',
  device,
  destination: Cidr.parse(range),
  onlink: via !== undefined,
  ...(via === undefined ? {} : { via: Ip.parse(via) }),
});

test('a route by an onlink gateway takes the place of one by another device, in both families', () => {
  const netns = Netns.createAnonymous();
  const kernel = LinuxRouteKernel.open(netns.fd);
  onTestFinished(() => {
    kernel.close();
    netns.close();
  });
  kernel.changeLink(kernel.link('lo')?.index ?? 0, { up: true });
  for (const name of ['before', 'after']) kernel.addLink({ kind: 'bridge', name, up: true });
  const entries = new KernelEntries(kernel);
  const all = [route('before', '10.244.0.0/16'), route('before', 'fd00:10:244::/56')];
  const former = [route('before', '10.244.2.0/24'), route('before', 'fd00:10:244:2::/64')];
  for (const entry of [...all, ...former]) entries.put(entry);
  const wanted = [
    route('after', '10.244.2.0/24', '10.244.2.0'),
    route('after', 'fd00:10:244:2::/64', 'fd00:10:244:2::'),
  ];
  for (const entry of wanted) entries.put(entry);
  const observed = entries.observe(new Set()).filter(({ kind }) => kind === 'route');
  expect(observed.map(formatEntry).sort()).toEqual([...all, ...wanted].map(formatEntry).sort());
});
