import { afterEach, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { FakeIpset } from '../../../kernel/ipset/fake.ts';
import { FakeIptables } from '../../../kernel/iptables/fake.ts';
import { FakeIpvs } from '../../../kernel/ipvs/fake.ts';
import { realServerText, serverText, type VirtualServerKey } from '../../../kernel/ipvs/objects.ts';
import { FakeRouteKernel } from '../../../kernel/netlink/fake.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { IpvsBackend } from './backend.ts';
import type { IpvsModeKernels } from './kernels.ts';
import { FakeNodeState } from './node-state.ts';
import { readAddresses } from './observation.ts';
import type { IpvsModeSettings } from './settings.ts';

const SETTINGS: ProxySettings = {
  families: [4, 6],
  nodeIps: [Ip.parse('10.250.0.1')],
  nodePortAddresses: 'all',
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16')] },
  serviceCidrs: [],
  masqueradeAll: false,
  masqueradeBit: 14,
};
const WEB: VirtualServerKey = { protocol: 'TCP', address: '10.96.0.1', port: 80 };

class Node {
  readonly ipvs = new FakeIpvs();
  readonly ipset = new FakeIpset();
  readonly route = new FakeRouteKernel();
  readonly iptables = new FakeIptables(4);
  readonly ip6tables = new FakeIptables(6);
  readonly state = new FakeNodeState();
  readonly #eth0: number;

  constructor() {
    this.#eth0 = this.route.addLink({ kind: 'dummy', name: 'eth0', up: true })?.index ?? 0;
    this.addAddress('10.250.0.1');
  }

  addAddress(address: string): void {
    this.route.addAddress({ link: this.#eth0, ip: Ip.parse(address), prefixLength: 24 });
  }

  kernels(): IpvsModeKernels {
    const { ipvs, ipset, route, iptables, state } = this;
    return { openIpvs: () => ipvs, ipset, route, iptables: [iptables, this.ip6tables], node: state };
  }

  /** `10.244.1.2:8080` or, of another weight than 1, `10.244.1.2:8080*0`. */
  realServers(server: VirtualServerKey): string[] {
    return this.ipvs
      .realServers(server)
      .map((real) => realServerText(real) + (real.weight === 1 ? '' : `*${real.weight}`))
      .sort();
  }

  servers(): string[] {
    return this.ipvs.virtualServers().map(serverText).sort();
  }

  serviceAddresses(): string[] {
    return [...readAddresses(this.route, 4).services].sort();
  }
}

const opened: IpvsBackend[] = [];

async function start(
  node: Node,
  ports: readonly ServicePort[],
  modeSettings: IpvsModeSettings = {},
  settings: Partial<ProxySettings> = {},
): Promise<IpvsBackend> {
  const backend = new IpvsBackend(node.kernels(), { ...SETTINGS, ...settings }, modeSettings);
  opened.push(backend);
  await backend.prepare();
  await backend.rebuild(ports);
  return backend;
}

afterEach(async () => {
  for (const backend of opened.splice(0)) await backend.close();
});

const endpoint = (address: string, local = false): ServiceEndpoint => ({ address, port: 8080, local });
const ONE = endpoint('10.244.1.2');
const TWO = endpoint('10.244.2.2');
const web = (...endpoints: ServiceEndpoint[]): ServicePort => servicePort({ endpoints });
const dns = (...endpoints: ServiceEndpoint[]): ServicePort =>
  servicePort({ protocol: 'UDP', port: 53, endpoints });
const change = (port: ServicePort) => ({ id: port.id, port });

test('a second start finds everything as it should be', async () => {
  const node = new Node();
  const ports = [
    web(ONE, TWO),
    servicePort({ service: 'test/dns', address: '10.96.0.10', protocol: 'UDP', port: 53, nodePort: 30053 }),
  ];
  await start(node, ports);
  node.ipvs.calls.length = 0;
  node.ipset.calls.length = 0;
  node.iptables.restored.length = 0;
  const again = new IpvsBackend(node.kernels(), SETTINGS);
  opened.push(again);
  await again.prepare();
  const report = await again.rebuild(ports);
  expect(report.describe()).toEqual([]);
  expect(node.ipset.calls).toEqual([]);
  expect(node.iptables.restored).toEqual([]);
  expect(node.servers()).toEqual(['TCP 10.96.0.1:80', 'UDP 10.250.0.1:30053', 'UDP 10.96.0.10:53']);
  expect(node.serviceAddresses()).toEqual(['10.96.0.1', '10.96.0.10']);
});

test('a change touches what it is about', async () => {
  const node = new Node();
  const others = Array.from({ length: 50 }, (_, i) =>
    servicePort({ service: `test/s${i}`, address: `10.96.1.${i}`, endpoints: [ONE] }),
  );
  const backend = await start(node, [...others, web(ONE)]);
  node.ipvs.calls.length = 0;
  const report = await backend.update([change(web(ONE, TWO))]);
  expect(report.describe()).toEqual(['+ TCP 10.96.0.1:80 -> 10.244.2.2:8080 weight 1']);
  expect(node.ipvs.calls).toEqual(report.describe());
});

test('a real server with connections gets no new ones, and goes when they have ended', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE, TWO)]);
  node.ipvs.setConnections(WEB, TWO, 1, 2);
  await backend.update([change(web(ONE))]);
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080*0']);
  expect(await backend.foreignChange()).toBe(false);
  node.ipvs.setConnections(WEB, TWO, 0, 1);
  backend.checkTerminations();
  expect(node.realServers(WEB)).toContain('10.244.2.2:8080*0');
  node.ipvs.setConnections(WEB, TWO, 0, 0);
  backend.checkTerminations();
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080']);
});

test('a real server that comes back while it terminates is one of the others again', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE, TWO)]);
  node.ipvs.setConnections(WEB, TWO, 1);
  await backend.update([change(web(ONE))]);
  await backend.update([change(web(ONE, TWO))]);
  node.ipvs.setConnections(WEB, TWO, 0);
  backend.checkTerminations();
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080']);
});

test('a new process goes on with real servers that terminate', async () => {
  const node = new Node();
  const before = await start(node, [web(ONE, TWO)]);
  node.ipvs.setConnections(WEB, TWO, 1);
  await before.update([change(web(ONE))]);
  await before.close();
  const after = await start(node, [web(ONE)]);
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080*0']);
  node.ipvs.setConnections(WEB, TWO, 0);
  after.checkTerminations();
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080']);
});

test('flows of UDP do not keep a real server', async () => {
  const node = new Node();
  const key: VirtualServerKey = { protocol: 'UDP', address: '10.96.0.1', port: 53 };
  const backend = await start(node, [dns(ONE, TWO)]);
  node.ipvs.setConnections(key, TWO, 0, 7);
  await backend.update([change(dns(ONE))]);
  expect(node.realServers(key)).toEqual(['10.244.1.2:8080']);
});

test('connections outlive their Service, whose address refuses new ones meanwhile', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE, TWO)]);
  node.ipvs.setConnections(WEB, ONE, 1);
  await backend.update([{ id: web().id, port: undefined }]);
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080*0']);
  expect(node.serviceAddresses()).toEqual(['10.96.0.1']);
  expect(node.ipset.entries('KUBE-IPVS-IPS')).toEqual(['10.96.0.1']);
  expect(node.ipset.entries('KUBE-CLUSTER-IP')).toEqual([]);
  expect(await backend.foreignChange()).toBe(false);
  node.ipvs.setConnections(WEB, ONE, 0);
  backend.checkTerminations();
  expect([node.servers(), node.serviceAddresses(), node.ipset.entries('KUBE-IPVS-IPS')]).toEqual([
    [],
    [],
    [],
  ]);
  expect(await backend.foreignChange()).toBe(false);
});

test('a Service that comes back finds its virtual server', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE)]);
  node.ipvs.setConnections(WEB, ONE, 1);
  await backend.update([{ id: web().id, port: undefined }]);
  await backend.update([change(web(ONE, TWO))]);
  backend.checkTerminations();
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080']);
  expect(node.serviceAddresses()).toEqual(['10.96.0.1']);
  expect(await backend.foreignChange()).toBe(false);
});

test.each<[string, (node: Node) => void]>([
  ['IPVS flushed', ({ ipvs }) => ipvs.flush()],
  ['a virtual server deleted', ({ ipvs }) => void ipvs.apply([{ operation: 'delete-server', server: WEB }])],
  [
    'a real server deleted',
    ({ ipvs }) => void ipvs.apply([{ operation: 'delete-destination', server: WEB, destination: ONE }]),
  ],
  [
    'a virtual server altered',
    ({ ipvs }) =>
      void ipvs.apply([
        {
          operation: 'set-server',
          server: { ...WEB, scheduler: 'lc', flags: 0, timeoutSeconds: 0, clientPrefixLength: 32 },
        },
      ]),
  ],
  ['an ipset flushed', ({ ipset }) => ipset.flush('KUBE-CLUSTER-IP')],
  ['an ipset destroyed', ({ ipset }) => void ipset.destroy('KUBE-LOOP-BACK')],
  ['the device deleted', ({ route }) => route.deleteLink(route.link('kube-ipvs0')?.index ?? 0)],
  [
    'an address deleted',
    ({ route }) =>
      route.deleteAddress({
        link: route.link('kube-ipvs0')?.index ?? 0,
        ip: Ip.parse('10.96.0.1'),
        prefixLength: 32,
      }),
  ],
  ['a chain flushed', ({ iptables }) => iptables.restore('*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n')],
  ['a jump deleted', ({ iptables }) => iptables.restore('*filter\n-D INPUT 1\nCOMMIT\n')],
  ['another address of the node', (node) => node.addAddress('10.251.0.1')],
])('found and mended: %s', async (_, disturb) => {
  const node = new Node();
  const ports = [web(ONE, TWO), servicePort({ service: 'test/node', address: '10.96.0.2', nodePort: 30080 })];
  const backend = await start(node, ports);
  const looks = async (): Promise<boolean[]> => [
    await backend.foreignChange(),
    await backend.foreignChange(),
  ];
  expect(await looks()).toEqual([false, false]);
  disturb(node);
  expect(await looks()).toContain(true);
  await backend.prepare();
  await backend.rebuild(ports);
  expect(await looks()).toEqual([false, false]);
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080', '10.244.2.2:8080']);
});

test('what was done to the last of many virtual servers is found a little later, without a look that takes long', async () => {
  const node = new Node();
  const ports = Array.from({ length: 500 }, (_, index) =>
    servicePort({
      service: `test/s${index}`,
      address: `10.96.${index >> 8}.${index & 255}`,
      endpoints: [ONE],
    }),
  );
  const backend = await start(node, ports);
  let calls = 0;
  const end = backend.watch(() => (calls += 1));
  const last = { ...WEB, address: '10.96.1.243' };
  node.ipvs.apply([
    { operation: 'delete-destination', server: last, destination: { address: ONE.address, port: ONE.port } },
  ]);
  await expect
    .poll(
      async () => {
        await backend.foreignChange();
        return calls;
      },
      { interval: 500, timeout: 20_000 },
    )
    .toBe(1);
  expect(await backend.foreignChange()).toBe(true);
  await backend.rebuild(ports);
  expect(node.realServers(last)).toEqual(['10.244.1.2:8080']);
  expect(await backend.foreignChange()).toBe(false);
  end();
}, 30_000);

test('what the kernel tells of addresses calls for a look', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE)]);
  let calls = 0;
  const end = backend.watch(() => (calls += 1));
  await backend.update([
    change(web(ONE, TWO)),
    change(servicePort({ service: 'test/b', address: '10.96.0.2' })),
  ]);
  node.addAddress('10.251.0.1');
  await expect.poll(() => calls).toBe(1);
  expect(await backend.foreignChange()).toBe(true);
  end();
});

test('other people’s virtual servers stay', async () => {
  const node = new Node();
  const theirs = {
    ...WEB,
    address: '192.0.2.9',
    scheduler: 'wlc',
    flags: 0,
    timeoutSeconds: 0,
    clientPrefixLength: 32,
  };
  node.ipvs.apply([{ operation: 'add-server', server: theirs }]);
  const backend = await start(node, [web(ONE)], { excludeCIDRs: [Cidr.parse('192.0.2.0/24')] });
  expect(await backend.foreignChange()).toBe(false);
  await backend.remove();
  expect(node.servers()).toEqual(['TCP 192.0.2.9:80']);
});

test('remove leaves nothing but what has connections, and that until they have ended', async () => {
  const node = new Node();
  const backend = await start(node, [
    web(ONE, TWO),
    servicePort({ service: 'test/b', address: '10.96.0.2', endpoints: [ONE] }),
  ]);
  node.ipvs.setConnections(WEB, TWO, 1);
  await backend.remove();
  expect(node.servers()).toEqual(['TCP 10.96.0.1:80']);
  expect(node.realServers(WEB)).toEqual(['10.244.2.2:8080*0']);
  expect(node.serviceAddresses()).toEqual(['10.96.0.1']);
  expect(node.ipset.sets()).toEqual([]);
  expect(await node.iptables.save('nat')).not.toContain('KUBE-');
  expect(await node.iptables.save('filter')).not.toContain('KUBE-');
  expect(await node.iptables.save('mangle')).not.toContain('KUBE-');
});

test('told not to wait for connections, remove leaves nothing of them either', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE, TWO)]);
  node.ipvs.setConnections(WEB, TWO, 1);
  await backend.remove({ endConnections: true });
  expect([node.servers(), node.route.link('kube-ipvs0')]).toEqual([[], undefined]);
});

test('what only kube-proxy has goes when its rules are adopted', async () => {
  const node = new Node();
  node.iptables.restore(
    '*filter\n:KUBE-IPVS-OUT-FILTER - [0:0]\n' +
      '-A OUTPUT -m comment --comment "kubernetes ipvs access filter" -j KUBE-IPVS-OUT-FILTER\n' +
      '-A KUBE-IPVS-OUT-FILTER -s 192.0.2.20/32 -m ipvs --vaddr 192.0.2.20/32 --vport 80 -j DROP\nCOMMIT\n',
  );
  await start(node, [web(ONE)]);
  expect(await node.iptables.save('filter')).not.toContain('KUBE-IPVS-OUT-FILTER');
});

test('remove without connections leaves no device', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE)]);
  await backend.remove();
  await backend.drained();
  expect([node.servers(), node.route.link('kube-ipvs0')]).toEqual([[], undefined]);
});

test(
  'when the mode is chosen again before the last connection has ended, who was removed leaves it alone',
  { timeout: 10_000 },
  async () => {
    const node = new Node();
    const removed = await start(node, [web(ONE, TWO)]);
    node.ipvs.setConnections(WEB, TWO, 1);
    await removed.remove();
    await start(node, [web(ONE, TWO)]);
    await removed.drained();
    expect(node.realServers(WEB)).toHaveLength(2);
    expect(node.realServers(WEB).some((server) => server.endsWith('*0'))).toBe(false);
  },
);

/** As the iptables mode leaves the tables when it has taken over. */
const IPTABLES_MODE = `*nat
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SVC-ABC - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -j MASQUERADE
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC
COMMIT
`;

test('the iptables mode keeps the chains that it has taken over', async () => {
  const node = new Node();
  const backend = await start(node, [web(ONE)]);
  node.iptables.restore(IPTABLES_MODE);
  await backend.remove();
  const nat = await node.iptables.save('nat');
  expect(nat).toContain('-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ABC');
  expect(nat).toContain('-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES');
  expect(nat).toContain('-A KUBE-POSTROUTING -j MASQUERADE');
  expect(nat).not.toContain('KUBE-NODE-PORT\n');
  expect(nat).not.toContain('--match-set');
});

test('a mode that was never there removes nothing of kubelet’s', async () => {
  const node = new Node();
  node.state.modules.clear();
  const kubelet = '*nat\n:KUBE-MARK-MASQ - [0:0]\n:KUBE-POSTROUTING - [0:0]\nCOMMIT\n';
  node.iptables.restore(kubelet);
  const before = await node.iptables.save('nat');
  const backend = new IpvsBackend(node.kernels(), SETTINGS);
  await backend.remove();
  await backend.close();
  expect(await node.iptables.save('nat')).toBe(before);
});

test('a kernel without IPVS is told with the modules that it lacks', async () => {
  const node = new Node();
  const backend = new IpvsBackend({ ...node.kernels(), openIpvs: () => undefined }, SETTINGS, {
    scheduler: 'wlc',
  });
  await expect(backend.prepare()).rejects.toMatchObject({
    code: 'IPVS_UNSUPPORTED',
    message: expect.stringContaining('IPVS (module ip_vs)') as string,
    hint: expect.stringContaining('modprobe ip_vs; modprobe ip_vs_wlc;') as string,
  });
});

test('a scheduler that the kernel lacks is told', async () => {
  const node = new Node();
  node.ipvs.schedulers.delete('mh');
  const backend = new IpvsBackend(node.kernels(), SETTINGS, { scheduler: 'mh' });
  await expect(backend.prepare()).rejects.toThrow('scheduler mh (module ip_vs_mh)');
  expect(node.servers()).toEqual([]);
});

test('kernel settings, timeouts and strictARP', async () => {
  const node = new Node();
  node.state.kernelRelease = '5.4.0-100-generic';
  await start(node, [], { strictARP: true, tcpTimeout: 600_000, udpTimeout: 1500 });
  expect(Object.fromEntries(node.state.sysctls)).toEqual({
    'net.ipv4.vs.conntrack': '1',
    'net.ipv4.vs.conn_reuse_mode': '0',
    'net.ipv4.vs.expire_nodest_conn': '1',
    'net.ipv4.vs.expire_quiescent_template': '1',
    'net.ipv4.ip_forward': '1',
    'net.ipv4.conf.all.arp_ignore': '1',
    'net.ipv4.conf.all.arp_announce': '2',
  });
  expect(node.ipvs.timeouts()).toEqual({ tcp: 600, tcpFin: 120, udp: 2 });
});

test('affinity and the scheduler are in the virtual server', async () => {
  const node = new Node();
  await start(node, [servicePort({ endpoints: [ONE], affinitySeconds: 10_800 })], { scheduler: 'mh' });
  expect(node.ipvs.virtualServer(WEB)).toMatchObject({
    scheduler: 'mh',
    flags: 0x11,
    timeoutSeconds: 10_800,
  });
});

test('two Services with one address: the first has it, the other gets it when it is free', async () => {
  const node = new Node();
  const first = web(ONE);
  const second = servicePort({ service: 'test/late', endpoints: [TWO] });
  const backend = await start(node, [first]);
  const report = await backend.update([change(second)]);
  expect(report.conflicts).toEqual([{ id: second.id, owner: first.id, what: '10.96.0.1 TCP port 80' }]);
  expect(node.realServers(WEB)).toEqual(['10.244.1.2:8080']);
  await backend.update([{ id: first.id, port: undefined }]);
  expect(node.realServers(WEB)).toEqual(['10.244.2.2:8080']);
});

test('sets of a load balancer with source ranges; a range of everything is two halves', async () => {
  const node = new Node();
  await start(node, [
    servicePort({
      endpoints: [ONE],
      loadBalancerIps: ['192.0.2.20'],
      sourceRanges: ['198.51.100.0/24', '0.0.0.0/0'],
    }),
  ]);
  const entries = (name: string): string[] => node.ipset.entries(name).sort();
  expect(entries('KUBE-LOAD-BALANCER-FW')).toEqual(['192.0.2.20,tcp:80']);
  expect(entries('KUBE-LOAD-BALANCER-SOURCE-CIDR')).toEqual([
    '192.0.2.20,tcp:80,0.0.0.0/1',
    '192.0.2.20,tcp:80,128.0.0.0/1',
    '192.0.2.20,tcp:80,198.51.100.0/24',
  ]);
  expect(entries('KUBE-LOAD-BALANCER-SOURCE-IP')).toEqual(['192.0.2.20,tcp:80,192.0.2.20']);
});

test('an external address that the node itself has is not put on kube-ipvs0', async () => {
  const node = new Node();
  await start(node, [servicePort({ endpoints: [ONE], externalIps: ['10.250.0.1', '192.0.2.1'] })]);
  expect(node.serviceAddresses()).toEqual(['10.96.0.1', '192.0.2.1']);
  expect(node.servers()).toContain('TCP 10.250.0.1:80');
});

test('the rules are kube-proxy’s', async () => {
  const node = new Node();
  await start(node, [web(ONE)]);
  const nat = (await node.iptables.save('nat')).split('\n');
  // kube-proxy 1.36, pkg/proxy/ipvs/proxier.go, as iptables-save prints them.
  expect(nat).toEqual(
    expect.arrayContaining([
      '-A KUBE-SERVICES -s 127.0.0.0/8 -j RETURN',
      '-A KUBE-SERVICES -m comment --comment "Kubernetes service lb portal" -m set --match-set KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER',
      '-A KUBE-SERVICES ! -s 10.244.0.0/16 -m comment --comment "Kubernetes service cluster ip + port for masquerade purpose" -m set --match-set KUBE-CLUSTER-IP dst,dst -j KUBE-MARK-MASQ',
      '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODE-PORT',
      '-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst,dst -j ACCEPT',
      '-A KUBE-NODE-PORT -p tcp -m comment --comment "Kubernetes nodeport TCP port for masquerade purpose" -m set --match-set KUBE-NODE-PORT-TCP dst -j KUBE-MARK-MASQ',
      '-A KUBE-POSTROUTING -m comment --comment "Kubernetes endpoints dst ip:port, source ip for solving hairpin purpose" -m set --match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE',
      '-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN',
      '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully',
    ]),
  );
});
