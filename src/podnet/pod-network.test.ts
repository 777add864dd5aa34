import { pino } from 'pino';
import { expect, onTestFinished, test, vi } from 'vitest';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { FakeRouteKernel } from '../kernel/netlink/fake.ts';
import type { NewRoute } from '../kernel/netlink/objects.ts';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';
import { Mac } from '../net/mac.ts';
import type { LocalNode } from './backends/backend.ts';
import { HostGwBackend } from './backends/hostgw/host-gw.ts';
import { PodNetwork } from './pod-network.ts';

class RefusingKernel extends FakeRouteKernel {
  refused = '10.244.2.0/24';

  override replaceRoute(route: NewRoute): void {
    if (route.destination.toString() === this.refused) throw new FlatnetError('refused', { code: 'EINVAL' });
    super.replaceRoute(route);
  }
}

const local: LocalNode = {
  name: 'node-1',
  underlay: { device: 'eth0', mtu: 1500, onLink: [Cidr.parse('172.30.0.0/24')] },
  families: new Map([
    [
      4,
      {
        podCidr: Cidr.parse('10.244.1.0/24'),
        network: Cidr.parse('10.244.0.0/16'),
        ip: Ip.parse('172.30.0.1'),
        vtepMac: Mac.parse('02:00:00:00:00:01'),
      },
    ],
  ]),
};

test('a peer that the kernel refuses does not keep the node from serving, and is tried again', async () => {
  const kernel = new RefusingKernel();
  const link = kernel.addLink({ kind: 'dummy', name: 'eth0', mtu: 1500, up: true })?.index ?? 0;
  kernel.addAddress({ link, ip: Ip.parse('172.30.0.1'), prefixLength: 24 });
  const network = new PodNetwork({
    kernel,
    logger: pino({ level: 'silent' }),
    onProblems: () => undefined,
    onUnderlayChange: () => undefined,
  });
  const stop = new AbortController();
  const running = network.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await running;
    kernel.close();
  });
  for (const n of [2, 3]) {
    network.setPeer({
      node: `node-${n}`,
      offers: [{ type: 'host-gw', data: new Map([[4, null]]) }],
      families: new Map([
        [4, { podCidr: Cidr.parse(`10.244.${n}.0/24`), publicIp: Ip.parse(`172.30.0.${n}`) }],
      ]),
    });
  }
  network.setLocal(local, { backends: [new HostGwBackend()], drivers: [] });
  const routes = (): string[] =>
    kernel.routes({ protocol: 70 }).map(({ destination }) => destination.toString());
  expect(routes()).toEqual(['10.244.3.0/24']);
  expect(network.failure).toBeUndefined();
  kernel.refused = '';
  await vi.waitFor(() => expect(routes()).toContain('10.244.2.0/24'), 3000);
});
