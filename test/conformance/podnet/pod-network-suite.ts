import { pino } from 'pino';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { FlatnetError } from '../../../src/errors/flatnet-error.ts';
import type { RouteKernel } from '../../../src/kernel/netlink/route-kernel.ts';
import { Cidr } from '../../../src/net/cidr.ts';
import { Ip, type IpFamily } from '../../../src/net/ip.ts';
import { Mac } from '../../../src/net/mac.ts';
import type { Backend, LocalNode } from '../../../src/podnet/backends/backend.ts';
import { formatEntry, type LinkEntry } from '../../../src/podnet/backends/entry.ts';
import { HostGwBackend } from '../../../src/podnet/backends/hostgw/host-gw.ts';
import { IpipBackend } from '../../../src/podnet/backends/ipip/ipip.ts';
import { KernelEntries, ROUTE_PROTOCOL } from '../../../src/podnet/backends/kernel-entries.ts';
import { vxlanSchema } from '../../../src/podnet/backends/vxlan/settings.ts';
import { VxlanBackend } from '../../../src/podnet/backends/vxlan/vxlan.ts';
import type { FamilyLease, NodeLease } from '../../../src/podnet/node-lease.ts';
import { PodNetwork, type Ways } from '../../../src/podnet/pod-network.ts';

/** A kernel with a link `eth0` that is up and has 172.30.0.1/24 and fd00:30::1/64. */
export type KernelUnderTest = () => { kernel: RouteKernel; dispose: () => void };

const mac = (n: number): Mac => Mac.parse(`02:00:00:00:00:${n.toString(16).padStart(2, '0')}`);
const v6 = (n: number): string => n.toString(16);

const bothFamilies = (mtu: number): LocalNode => ({
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

/** The node as a backend can serve it: ipip carries IPv4 alone. */
function localFor({ type }: Backend, mtu = 1500): LocalNode {
  const local = bothFamilies(mtu);
  if (type !== 'ipip') return local;
  return { ...local, families: new Map([...local.families].filter(([family]) => family === 4)) };
}

function lease(
  backend: Backend,
  n: number,
  changes: { mac?: Mac; host?: number; node?: string; podCidr?: string; since?: number } = {},
): NodeLease {
  const host = changes.host ?? n;
  const vtepMac = changes.mac ?? mac(n);
  const families = new Map<IpFamily, FamilyLease>([
    [
      4,
      { podCidr: Cidr.parse(changes.podCidr ?? `10.244.${n}.0/24`), publicIp: Ip.parse(`172.30.0.${host}`) },
    ],
    [6, { podCidr: Cidr.parse(`fd00:10:244:${v6(n)}::/64`), publicIp: Ip.parse(`fd00:30::${v6(host)}`) }],
  ]);
  const data = [...bothFamilies(1500).families].map(
    ([family, facts]) => [family, backend.data({ ...facts, vtepMac }, family)] as const,
  );
  const offers = [{ type: backend.type, data: new Map(data) }] as const;
  const since = changes.since === undefined ? {} : { since: changes.since };
  return { node: changes.node ?? `node-${n}`, offers, families, ...since };
}

/** A node whose pod CIDR lies within node-2's. */
const innerOf = (backend: Backend, changes: Parameters<typeof lease>[2] = {}): NodeLease =>
  lease(backend, 9, { node: 'inner', podCidr: '10.244.2.128/25', ...changes });
const isServed = (entries: readonly string[], host: string): boolean =>
  entries.some((entry) => entry.includes(host));

const vxlan = (settings: object): Backend =>
  new VxlanBackend(vxlanSchema.parse({ Type: 'vxlan', ...settings }), '6.1.0');
/** Those that every kernel has. */
export const COMMON_BACKENDS: readonly Backend[] = [
  vxlan({}),
  vxlan({ DirectRouting: true }),
  vxlan({ Learning: true, GBP: true, TxChecksumOffload: false }),
  new HostGwBackend(),
];
export const IPIP_BACKENDS: readonly Backend[] = [
  new IpipBackend({ type: 'ipip', directRouting: false, underlayMtu: undefined }),
  new IpipBackend({ type: 'ipip', directRouting: true, underlayMtu: undefined }),
];
const waysOf = (backend: Backend): Ways => ({ backends: [backend], drivers: [] });
const DEVICES = new Set(['flannel.1', 'flannel-v6.1', 'flannel.ipip']);

/** What every backend does on every kernel, the fake one and the real one. */
export function describePodNetwork(
  where: string,
  backends: readonly Backend[],
  kernelUnderTest: KernelUnderTest,
): void {
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

  describe.each(backends)(`$type on ${where}`, (backend) => {
    const ways = waysOf(backend);

    async function threeNodes() {
      const world = start();
      world.network.setLocal(localFor(backend), ways);
      for (const n of [2, 3]) world.network.setPeer(lease(backend, n));
      world.network.allowPrune();
      const last = localFor(backend).families.has(6) ? 'fd00:10:244:3::/64' : '10.244.3.0/24';
      await vi.waitFor(() => expect(world.inKernel().join('\n')).toContain(last));
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
      second.network.setLocal(localFor(backend), ways);
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

    test('who was served before a restart is served after it, whoever is told first', async () => {
      const first = await threeNodes();
      await first.end();
      const { network, problems, inKernel, settled } = start(first.kernel);
      network.setLocal(localFor(backend), ways);
      network.setPeer(lease(backend, 2, { node: 'copy', mac: mac(0x2b), host: 43 }));
      for (const n of [2, 3]) network.setPeer(lease(backend, n));
      network.allowPrune();
      await vi.waitFor(() => expect(problems.get('copy')).toContain('is claimed by node node-2 already'));
      await settled();
      expect(inKernel().join('\n')).not.toContain('172.30.0.43');
      expect(inKernel().join('\n')).toContain('172.30.0.2');
    });

    describe('a pod CIDR within that of another node', () => {
      test('takes nothing from it, is reported, and served when they meet no more', async () => {
        const { network, problems, inKernel, settled } = await threeNodes();
        const before = inKernel();
        network.setPeer(innerOf(backend));
        await vi.waitFor(() =>
          expect(problems.get('inner')).toContain(
            'node inner: pod CIDR 10.244.2.128/25 overlaps 10.244.2.0/24 of node node-2, which had it first',
          ),
        );
        await vi.waitFor(() => expect(problems.get('node-2')).toContain('of node inner, which is left out'));
        expect(inKernel()).toEqual(before);
        expect(network.reachedBy('inner')).toBeUndefined();
        network.setPeer(innerOf(backend, { podCidr: '10.244.9.128/25' }));
        await vi.waitFor(() => expect(inKernel().join('\n')).toContain('route 10.244.9.128/25'));
        await settled();
        expect([problems.get('inner'), problems.get('node-2')]).toEqual(['', '']);
        network.setPeer(innerOf(backend));
        await vi.waitFor(() => expect(inKernel()).toEqual(before));
        network.removePeer('node-2');
        await vi.waitFor(() => expect(inKernel().join('\n')).toContain('route 10.244.2.128/25'));
        await settled();
        expect(problems.get('inner')).toBe('');
      });

      test('at a restart the one that was there stays, on a new node the older one gets it, whoever is told first', async () => {
        const first = await threeNodes();
        await first.end();
        for (const [hadIt, kernel] of [
          [true, first.kernel],
          [false, undefined],
        ] as const) {
          for (const isLate of [true, false]) {
            const { network, problems, inKernel, settled, end } = start(kernel);
            if (isLate) network.allowPrune();
            else network.setLocal(localFor(backend), ways);
            const innerHost = '172.30.0.9';
            network.setPeer(innerOf(backend, { since: 1 }));
            // Planned before the other is known: it has to give way then.
            await new Promise((resolve) => setTimeout(resolve, 5));
            network.setPeer(lease(backend, 2, { since: 2 }));
            network.setPeer(lease(backend, 3, { since: 3 }));
            if (isLate) network.setLocal(localFor(backend), ways);
            else network.allowPrune();
            const loser = hadIt ? 'inner' : 'node-2';
            await vi.waitFor(() => expect(problems.get(loser)).toContain('which had it first'));
            await settled();
            expect([isServed(inKernel(), innerHost), isServed(inKernel(), '172.30.0.2')]).toEqual([
              !hadIt,
              hadIt,
            ]);
            await end();
          }
        }
      });
    });

    if (backend.planNode(localFor(backend)).length === 0) return;

    const links = (mtu?: number): LinkEntry[] =>
      backend.planNode(localFor(backend, mtu)).filter((entry) => entry.kind === 'link');

    test.each(links().map(({ device }) => device))(
      'device %s comes back with all its peers when it is deleted, and as it was when it is changed',
      async (device) => {
        const { kernel, inKernel, settled } = await threeNodes();
        const before = inKernel();
        kernel.deleteLink(kernel.link(device)?.index ?? 0);
        await vi.waitFor(() => expect(inKernel()).toEqual(before), 3000);
        kernel.changeLink(kernel.link(device)?.index ?? 0, { up: false, mtu: 1300 });
        await vi.waitFor(() => expect(inKernel()).toEqual(before), 3000);
        await settled();
      },
    );

    test('the devices follow the MTU of the underlay without being made anew', async () => {
      const { kernel, network, settled } = await threeNodes();
      const indexes = links().map(({ device }) => kernel.link(device)?.index);
      network.setLocal(localFor(backend, 1400), ways);
      await settled();
      expect(links().map(({ device }) => kernel.link(device)?.index)).toEqual(indexes);
      expect(links().map(({ device }) => kernel.link(device)?.mtu)).toEqual(
        links(1400).map(({ mtu }) => mtu),
      );
    });

    test('a device of the name that is something else is named, and left alone', () => {
      const { network, kernel } = start();
      const [{ device }] = links() as [LinkEntry];
      kernel.addLink({ kind: 'bridge', name: device });
      expect(() => {
        network.setLocal(localFor(backend), ways);
      }).toThrow(`device ${device} exists and is of kind bridge, not ${backend.type}`);
      expect(kernel.link(device)?.kind).toBe('bridge');
    });
  });
}
