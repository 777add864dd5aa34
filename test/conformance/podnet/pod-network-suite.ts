import { pino } from 'pino';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FlatnetError } from '../../../src/errors/flatnet-error.ts';
import type { RouteKernel } from '../../../src/kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip, type IpFamily } from '../../../src/net/ip.ts';
import { Mac } from '../../../src/net/mac.ts';
import type { Backend, LocalNode } from '../../../src/podnet/backends/backend.ts';
import { formatEntry } from '../../../src/podnet/backends/entry.ts';
import { HostGwBackend } from '../../../src/podnet/backends/hostgw/host-gw.ts';
import { KernelEntries, ROUTE_PROTOCOL } from '../../../src/podnet/backends/kernel-entries.ts';
import { VxlanBackend } from '../../../src/podnet/backends/vxlan/vxlan.ts';
import type { FamilyLease, NodeLease } from '../../../src/podnet/node-lease.ts';
import { PodNetwork, type Ways } from '../../../src/podnet/pod-network.ts';

/** A kernel with a link `eth0` that is up and has 172.30.0.1/24 and fd00:30::1/64. */
export type KernelUnderTest = () => { kernel: RouteKernel; dispose: () => void };

const mac = (n: number): Mac => Mac.parse(`02:00:00:00:00:${n.toString(16).padStart(2, '0')}`);
const v6 = (n: number): string => n.toString(16);

const local = (mtu = 1500): LocalNode => ({
  name: 'node-1',
  underlay: { device: 'eth0', mtu, onLink: [Cidr.parse('172.30.0.0/24'), Cidr.parse('fd00:30::/64')] },
  families: new Map([
    [
      4,
      {
        podCidr: Cidr.parse('10.244.1.0/24'),
        network: Cidr.parse('10.244.0.0/16'),
        ip: Ip.parse('172.30.0.1'),
        vtepMac: mac(1),
      },
    ],
    [
      6,
      {
        podCidr: Cidr.parse('fd00:10:244:1::/64'),
        network: Cidr.parse('fd00:10:244::/56'),
        ip: Ip.parse('fd00:30::1'),
        vtepMac: mac(0x61),
      },
    ],
  ]),
});

function lease(
  backend: Backend,
  n: number,
  changes: { mac?: Mac; host?: number; node?: string } = {},
): NodeLease {
  const host = changes.host ?? n;
  const vtepMac = changes.mac ?? mac(n);
  const families = new Map<IpFamily, FamilyLease>([
    [4, { podCidr: Cidr.parse(`10.244.${n}.0/24`), publicIp: Ip.parse(`172.30.0.${host}`) }],
    [6, { podCidr: Cidr.parse(`fd00:10:244:${v6(n)}::/64`), publicIp: Ip.parse(`fd00:30::${v6(host)}`) }],
  ]);
  const data = [...local().families].map(
    ([family, facts]) => [family, backend.data({ ...facts, vtepMac }, family)] as const,
  );
  const offers = [{ type: backend.type, data: new Map(data) }] as const;
  return { node: changes.node ?? `node-${n}`, offers, families };
}

const BACKENDS: readonly Backend[] = [
  new VxlanBackend({ type: 'vxlan', vni: 1, port: 8472, directRouting: false, underlayMtu: undefined }),
  new VxlanBackend({ type: 'vxlan', vni: 1, port: 8472, directRouting: true, underlayMtu: undefined }),
  new HostGwBackend(),
];
const waysOf = (backend: Backend): Ways => ({ backends: [backend], drivers: [] });
const DEVICES = new Set(['flannel.1', 'flannel-v6.1']);

/** What every backend does on every kernel, the fake one and the real one. */
export function describePodNetwork(where: string, kernelUnderTest: KernelUnderTest): void {
  function start(given?: RouteKernel) {
    const under = given === undefined ? kernelUnderTest() : { kernel: given, dispose: () => undefined };
    const stop = new AbortController();
    const problems = new Map<string, string>();
    const network = new PodNetwork({
      kernel: under.kernel,
      logger: pino({ level: 'silent' }),
      onProblems: (node: string, found: readonly FlatnetError[]) =>
        problems.set(node, found.map(({ message }) => message).join()),
      onUnderlayChange: () => undefined,
    });
    const running = network.run(stop.signal);
    const end = async (): Promise<void> => {
      stop.abort();
      await running;
    };
    onTestFinished(async () => {
      await end();
      under.dispose();
    });
    const inKernel = (): string[] => new KernelEntries(under.kernel).observe(DEVICES).map(formatEntry).sort();
    const settled = async (): Promise<void> =>
      vi.waitFor(() => expect(inKernel()).toEqual(network.desiredEntries().map(formatEntry).sort()), 3000);
    return { kernel: under.kernel, network, problems, inKernel, settled, end };
  }

  describe.each(BACKENDS)(`$type on ${where}`, (backend) => {
    const ways = waysOf(backend);

    async function threeNodes() {
      const world = start();
      world.network.setLocal(local(), ways);
      for (const n of [2, 3]) world.network.setPeer(lease(backend, n));
      world.network.allowPrune();
      await vi.waitFor(() => expect(world.inKernel().join('\n')).toContain('fd00:10:244:3::/64'));
      await world.settled();
      return world;
    }

    test('the plan is in the kernel, and nothing of a peer that went', async () => {
      const { network, inKernel, settled } = await threeNodes();
      network.removePeer('node-2');
      await vi.waitFor(() => expect(inKernel().join('\n')).not.toMatch(/10\.244\.2\.|244:2::/));
      await settled();
      expect(inKernel().join('\n')).toContain('route 10.244.3.0/24');
    });

    test('a peer that moved is followed', async () => {
      const { network, inKernel, settled } = await threeNodes();
      network.setPeer(lease(backend, 2, { mac: mac(0x22), host: 22 }));
      await vi.waitFor(() => expect(inKernel().join('\n')).toContain('172.30.0.22'));
      await settled();
    });

    test('a restarted agent adopts: no entry is touched, and what went meanwhile is pruned only when all is known', async () => {
      const first = await threeNodes();
      await first.end();
      const events: string[] = [];
      const stop = new AbortController();
      first.kernel.watch({
        groups: ['link', 'address', 'route'],
        signal: stop.signal,
        onEvent: (event) => events.push(event.kind),
      });
      const second = start(first.kernel);
      second.network.setLocal(local(), ways);
      second.network.setPeer(lease(backend, 3));
      await new Promise((resolve) => setImmediate(resolve));
      expect(second.inKernel().join('\n')).toContain('route 10.244.2.0/24');
      expect(events).toEqual([]);
      stop.abort();
      second.network.allowPrune();
      await second.settled();
      expect(second.inKernel().join('\n')).not.toContain('10.244.2.0');
    });

    test('routes that are taken away come back; those of others are left alone', async () => {
      const { kernel, network, settled, inKernel } = await threeNodes();
      const eth0 = kernel.link('eth0')?.index ?? 0;
      const foreign = {
        destination: Cidr.parse('192.0.2.0/24'),
        gateway: Ip.parse('172.30.0.9'),
        link: eth0,
        protocol: 4,
      };
      kernel.addRoute(foreign);
      kernel.deleteRoute({ destination: Cidr.parse('10.244.2.0/24'), protocol: ROUTE_PROTOCOL });
      await vi.waitFor(() => expect(inKernel().join('\n')).toContain('route 10.244.2.0/24'), 3000);
      await settled();
      network.removePeer('node-2');
      network.removePeer('node-3');
      await settled();
      expect(kernel.routes({ protocol: 4 }).map(({ destination }) => destination.toString())).toContain(
        '192.0.2.0/24',
      );
    });

    test('of two nodes with one pod CIDR the first is served, the second reported and served after it', async () => {
      const { network, problems, inKernel, settled } = await threeNodes();
      network.setPeer(lease(backend, 2, { node: 'twin', mac: mac(0x2b), host: 43 }));
      await vi.waitFor(() => expect(problems.get('twin')).toContain('is claimed by node node-2 already'));
      expect(inKernel().join('\n')).not.toContain('172.30.0.43');
      network.removePeer('node-2');
      await vi.waitFor(() => expect(inKernel().join('\n')).toContain('172.30.0.43'));
      await settled();
      expect(problems.get('twin')).toBe('');
    });

    if (backend.planNode(local()).length === 0) return;

    test('a deleted device comes back with all its peers', async () => {
      const { kernel, inKernel, settled } = await threeNodes();
      const before = inKernel();
      kernel.deleteLink(kernel.link('flannel.1')?.index ?? 0);
      await vi.waitFor(() => expect(inKernel()).toEqual(before), 3000);
      await settled();
    });

    test('the devices follow the MTU of the underlay without being made anew', async () => {
      const { kernel, network, settled } = await threeNodes();
      const index = kernel.link('flannel.1')?.index;
      network.setLocal(local(1400), ways);
      await settled();
      expect(kernel.link('flannel.1')).toMatchObject({ index, mtu: 1350 });
      expect(kernel.link('flannel-v6.1')?.mtu).toBe(1330);
    });
  });
}
