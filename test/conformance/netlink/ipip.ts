import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Link } from '../../../src/kernel/netlink/objects.ts';
import type { RouteKernel } from '../../../src/kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip } from '../../../src/net/ip.ts';
import type { Subject } from './route-kernel.ts';

/** What every implementation of `RouteKernel` whose kernel has IPIP must do alike. */
export function ipipConformance(open: () => Subject): void {
  let subject: Subject;
  let kernel: RouteKernel;

  beforeEach(() => {
    subject = open();
    ({ kernel } = subject);
  });
  afterEach(() => {
    subject.close();
  });

  function addTunnel(): Link {
    const link = kernel.addLink({
      kind: 'ipip',
      name: 'flannel.ipip',
      mtu: 1480,
      up: true,
      ipip: { local: Ip.parse('192.0.2.1'), ttl: 0, pmtuDiscovery: false },
    });
    if (link === undefined) throw new Error('no link');
    return link;
  }

  test('an IPIP device as the backend makes it', () => {
    const link = addTunnel();
    expect(link).toMatchObject({ kind: 'ipip', mtu: 1480, up: true });
    expect(link.mac).toBeUndefined();
    expect(link.ipip).toMatchObject({ ttl: 0, pmtuDiscovery: false });
    expect(link.ipip?.local?.toString()).toBe('192.0.2.1');
    expect(link.ipip).not.toHaveProperty('remote');
  });

  test('its end and its time to live change on the living device, the rest stays', () => {
    const { index } = addTunnel();
    // A fixed time to live forbids to divide, whatever is asked for (ipip_netlink_parms).
    kernel.changeLink(index, { ipip: { local: Ip.parse('192.0.2.9'), ttl: 64, pmtuDiscovery: false } });
    const link = kernel.link(index);
    expect(link).toMatchObject({ name: 'flannel.ipip', up: true, mtu: 1480 });
    expect(link?.ipip).toMatchObject({ ttl: 64, pmtuDiscovery: true });
    expect(link?.ipip?.local?.toString()).toBe('192.0.2.9');
  });

  test('a route leads into it by way of the far end', () => {
    const { index } = addTunnel();
    kernel.addAddress({ link: index, ip: Ip.parse('10.244.1.0'), prefixLength: 32 });
    const gateway = Ip.parse('192.0.2.2');
    kernel.replaceRoute({
      destination: Cidr.parse('10.244.2.0/24'),
      gateway,
      link: index,
      onlink: true,
      protocol: 70,
    });
    const [route] = kernel.routes({ protocol: 70 });
    expect(route).toMatchObject({ link: index, onlink: true });
    expect(route?.gateway?.equals(gateway)).toBe(true);
  });
}
