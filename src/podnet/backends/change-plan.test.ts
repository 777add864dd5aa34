import { describe, expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { networkSchema } from '../network-config.ts';
import { changeKind, unreachable, type ReachNode } from './change-plan.ts';

const settings = (Type: string, more: object = {}) =>
  networkSchema.parse({ Network: '10.244.0.0/16', Backend: { Type, ...more } }).backend;

describe('a change of backend is made', () => {
  test.each<[string, Parameters<typeof changeKind>, string]>([
    ['not at all', [settings('vxlan'), settings('vxlan', { VNI: 1 })], 'none'],
    ['in place: MTU', [settings('vxlan'), settings('vxlan', { MTU: 1400 })], 'in-place'],
    ['in place: direct routes', [settings('vxlan'), settings('vxlan', { DirectRouting: true })], 'in-place'],
    ['beside: another type', [settings('vxlan'), settings('host-gw')], 'beside'],
    ['beside: another VNI', [settings('vxlan'), settings('vxlan', { VNI: 7, Port: 4789 })], 'beside'],
  ])('%s', (_, [from, to], expected) => {
    expect(changeKind(from, to)).toBe(expected);
  });

  test('never by two devices of one name', () => {
    expect(() => changeKind(settings('vxlan'), settings('vxlan', { Port: 4789 }))).toThrow(
      'vxlan 1 and vxlan 1 both need the device flannel.1, with another Port: they cannot exist side by side',
    );
    expect(() => changeKind(settings('udp'), settings('udp', { Port: 9000 }))).toThrow('flannel0');
  });
});

const node = (name: string, ip: string, subnet: string, changes: Partial<ReachNode> = {}): ReachNode => ({
  node: name,
  ips: new Map([[4, Ip.parse(ip)]]),
  subnets: [Cidr.parse(subnet)],
  rolls: true,
  ...changes,
});

const dual = (each: ReachNode): ReachNode => ({
  ...each,
  ips: new Map([...each.ips, [6, Ip.parse('fd00::1')]]),
});

describe('by a backend a node', () => {
  const here = node('a', '172.30.0.1', '172.30.0.0/24');
  const near = node('b', '172.30.0.2', '172.30.0.0/24');
  const far = node('c', '172.31.0.2', '172.31.0.0/24');
  const flannel = node('d', '172.30.0.4', '172.30.0.0/24', { rolls: false });
  test.each<[string, ReachNode, ReachNode, string | undefined]>([
    ['vxlan', here, far, undefined],
    ['wireguard', here, far, undefined],
    ['udp', here, far, undefined],
    ['host-gw', here, near, undefined],
    ['host-gw', here, far, '172.31.0.2 is not on a subnet of a (172.30.0.0/24)'],
    ['host-gw', { ...here, subnets: undefined }, near, 'it is not known whether 172.30.0.2'],
    ['alloc', here, near, 'alloc hands out addresses only'],
    ['ipip', here, near, undefined],
    ['ipip', dual(here), dual(near), 'ipip carries IPv4 only'],
    ['vxlan', here, flannel, 'd is not run by Flatnet'],
  ])('%s', (type, from, to, expected) => {
    const verdict = unreachable(settings(type), from, to);
    expect(verdict?.slice(0, expected?.length)).toBe(expected);
  });
});
