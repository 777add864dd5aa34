import { expect, test } from 'vitest';
import type { Link } from '../kernel/netlink/objects.ts';
import { EventFilter } from './event-filter.ts';

const eth0 = (mtu: number, index = 2): Link => ({ index, name: 'eth0', mtu, up: true }) as Link;

test('a change of the underlay is told once, whether event or reading comes first', () => {
  const filter = new EventFilter(() => undefined);
  const read = (link: Link): string => filter.learnDevices([link], [], 'eth0');
  const event = (link: Link): string => filter.judge({ kind: 'link', action: 'set', link });
  expect(read(eth0(1500))).toBe('none');
  expect([event(eth0(1400)), read(eth0(1400))]).toEqual(['underlay', 'none']);
  expect([read(eth0(1300)), event(eth0(1300))]).toEqual(['underlay', 'none']);
});

test('a device made anew under its old name is another underlay', () => {
  const filter = new EventFilter(() => undefined);
  filter.learnDevices([eth0(1500)], [], 'eth0');
  expect(filter.learnDevices([], [], 'eth0')).toBe('none');
  expect(filter.learnDevices([eth0(1500, 7)], [], 'eth0')).toBe('underlay');
});
