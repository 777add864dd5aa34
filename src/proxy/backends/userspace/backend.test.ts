import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { FakeConntrack } from '../../../kernel/conntrack/fake.ts';
import { FakeIptables } from '../../../kernel/iptables/fake.ts';
import { parseSave } from '../../../kernel/iptables/save-text.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { Verdict } from '../../verdict.ts';
import { UserspaceBackend } from './backend.ts';
import { FAKE_PORTS, FakeFronts, fakeFronts } from './fake-fronts.ts';
import type { FrontsRequest } from './fronts.ts';
import { UserspaceTracer } from './tracer.ts';

const SETTINGS: ProxySettings = {
  families: [4],
  nodeIps: [Ip.parse('10.250.0.1')],
  nodePortAddresses: 'all',
  localhostNodePorts: true,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16')] },
  serviceCidrs: [],
  masqueradeAll: false,
  masqueradeBit: 14,
};
const CHANCE = { nowMs: () => 0, random: () => 0 };

let iptables: FakeIptables;
let conntrack: FakeConntrack;
let backend: UserspaceBackend;

async function open(kernel: FakeIptables, settings: Partial<ProxySettings> = {}): Promise<UserspaceBackend> {
  const kernels = { iptables: kernel, conntrack, openFronts: fakeFronts() };
  const opened = new UserspaceBackend([kernels], { ...SETTINGS, ...settings }, {}, CHANCE);
  await opened.prepare();
  return opened;
}

beforeEach(async () => {
  iptables = new FakeIptables(4);
  conntrack = new FakeConntrack();
  backend = await open(iptables);
  await backend.rebuild([]);
});

const change = (port: ServicePort) => [{ id: port.id, port }];
const endpoint = (last: number, local = false): ServiceEndpoint => ({
  address: `10.244.1.${last}`,
  port: 8080,
  local,
});

async function rulesOf(chain: string, table: 'nat' | 'filter' = 'nat', kernel = iptables): Promise<string[]> {
  return (
    parseSave(await kernel.save(table))
      .get(table)
      ?.get(chain) ?? []
  );
}

const WEB = servicePort({
  portName: 'http',
  nodePort: 30_080,
  externalIps: ['192.0.2.9'],
  loadBalancerIps: ['192.0.2.20'],
  sourceRanges: ['198.51.100.0/24', '10.244.3.0/24'],
  externalLocal: true,
  endpoints: [endpoint(1, true), endpoint(2)],
});

const to = (set: 'all' | 'local'): string => `-j DNAT --to-destination 10.250.0.1:${FAKE_PORTS.TCP[set]}`;
const match = (port = 80): string => `-p tcp -m comment --comment "test/web:http" -m tcp --dport ${port}`;

test('a service port in rules', async () => {
  await backend.update(change(WEB));
  expect(await rulesOf('KUBE-PORTALS-CONTAINER')).toEqual([
    `-d 10.96.0.1/32 ${match()} ${to('all')}`,
    `-s 10.244.0.0/16 -d 192.0.2.9/32 ${match()} ${to('all')}`,
    `-d 192.0.2.9/32 ${match()} ${to('local')}`,
    `-s 10.244.3.0/24 -d 192.0.2.20/32 ${match()} ${to('all')}`,
    `-s 198.51.100.0/24 -d 192.0.2.20/32 ${match()} ${to('local')}`,
    `-s 10.244.3.0/24 -d 192.0.2.20/32 ${match()} ${to('local')}`,
  ]);
  expect(await rulesOf('KUBE-PORTALS-HOST')).toEqual([
    `-d 10.96.0.1/32 ${match()} ${to('all')}`,
    `-d 192.0.2.9/32 ${match()} ${to('all')}`,
    `-s 198.51.100.0/24 -d 192.0.2.20/32 ${match()} ${to('all')}`,
    `-s 10.244.3.0/24 -d 192.0.2.20/32 ${match()} ${to('all')}`,
  ]);
  expect(await rulesOf('KUBE-NODEPORT-CONTAINER')).toEqual([
    `-s 10.244.0.0/16 ${match(30_080)} ${to('all')}`,
    `${match(30_080)} ${to('local')}`,
  ]);
  expect(await rulesOf('KUBE-NODEPORT-HOST')).toEqual([`${match(30_080)} ${to('all')}`]);
  expect(await rulesOf('KUBE-PORTALS-FIREWALL', 'filter')).toEqual([`-d 192.0.2.20/32 ${match()} -j DROP`]);
  await backend.update(change({ ...WEB, endpoints: [], localEndpoints: [], hasEndpoints: false }));
  expect(await rulesOf('KUBE-PORTALS-CONTAINER')).toEqual([]);
  expect(await rulesOf('KUBE-NODEPORT-FIREWALL', 'filter')).toEqual([
    `${match(30_080)} -j REJECT --reject-with tcp-reset`,
  ]);
});

test('a name cannot leave its place in the text', async () => {
  await backend.update(change({ ...WEB, portName: 'x" -j ACCEPT\nCOMMIT' }));
  const [rule] = await rulesOf('KUBE-NODEPORT-HOST');
  expect(rule).toContain(String.raw`--comment "test/web:x\" -j ACCEPT?COMMIT" -m tcp`);
});

test('endpoints that come and go cost no call of iptables', async () => {
  await backend.update(change(WEB));
  const calls = iptables.restored.length;
  const report = await backend.update(change({ ...WEB, endpoints: [endpoint(3), endpoint(4, true)] }));
  expect(iptables.restored).toHaveLength(calls);
  expect(report.describe()).toEqual([]);
});

test('rules are counted', async () => {
  expect((await backend.update(change(WEB))).rules).toMatchObject({ written: 14, total: 14 });
  const report = await backend.update([{ id: WEB.id, port: undefined }]);
  expect(report.rules?.tables).toEqual([
    { family: 4, table: 'nat', written: 0, total: 0 },
    { family: 4, table: 'filter', written: 0, total: 0 },
  ]);
});

const noPorts = () => Promise.reject(new Error('no port'));

test('what another process left is removed without a port being opened, or an address known', async () => {
  await backend.rebuild([WEB]);
  const other = new UserspaceBackend([{ iptables, conntrack, openFronts: noPorts }], {
    ...SETTINGS,
    nodeIps: [],
  });
  await other.remove();
  await other.close();
  expect(`${await iptables.save('nat')}${await iptables.save('filter')}`).not.toContain('KUBE');
});

test('without an address of its own it says what is missing', async () => {
  const kernels = { iptables: new FakeIptables(4), conntrack, openFronts: fakeFronts() };
  const other = new UserspaceBackend([kernels], { ...SETTINGS, nodeIps: [Ip.parse('fd00::1')] });
  await expect(other.prepare()).rejects.toMatchObject({
    code: 'PROXY_ADDRESS',
    hint: expect.stringContaining('bindAddress'),
  });
});

test('SCTP is told of and the rest is served', async () => {
  const sctp = servicePort({ service: 'test/sctp', protocol: 'SCTP', endpoints: [endpoint(1)] });
  const report = await backend.rebuild([sctp, WEB]);
  expect(report.failures?.map(({ subject }) => subject)).toEqual([sctp.id]);
  expect(report.failures?.[0]?.message).toContain('no SCTP sockets');
  expect(await rulesOf('KUBE-NODEPORT-HOST')).toHaveLength(1);
});

test('two Services with one node port: the first has it, the other one gets it when it is free', async () => {
  const first = servicePort({
    service: 'test/first',
    address: '10.96.0.1',
    nodePort: 30_080,
    endpoints: [endpoint(1)],
  });
  const second = { ...first, id: 'test/second:80/TCP/4', service: 'test/second', address: '10.96.0.2' };
  const report = await backend.rebuild([first, second]);
  expect(report.conflicts).toEqual([{ id: second.id, owner: first.id, what: 'node port TCP 30080' }]);
  expect(await rulesOf('KUBE-NODEPORT-HOST')).toHaveLength(1);
  await backend.update([{ id: first.id, port: undefined }]);
  expect((await rulesOf('KUBE-NODEPORT-HOST')).join('\n')).toContain('test/second');
  expect(backend.natFamilies[0]?.table.find('TCP', 4, '10.250.0.1', 30_080)?.balancer.port.id).toBe(
    second.id,
  );
  expect(backend.natFamilies[0]?.table.find('TCP', 4, '10.96.0.1', 80)).toBe(undefined);
});

test('what is there is adopted: the ports of the process that was, and its rules', async () => {
  await backend.rebuild([WEB]);
  await backend.close();
  const requests: FrontsRequest[] = [];
  const kernels = {
    iptables,
    conntrack,
    openFronts: (request: FrontsRequest) => {
      requests.push(request);
      return Promise.resolve(new FakeFronts(request, FAKE_PORTS));
    },
  };
  const next = new UserspaceBackend([kernels], SETTINGS, {}, CHANCE);
  const calls = iptables.restored.length;
  await next.prepare();
  expect((await next.rebuild([WEB])).describe()).toEqual([]);
  expect(iptables.restored).toHaveLength(calls);
  expect(requests[0]?.former).toContainEqual({
    protocol: 'UDP',
    set: 'local',
    address: '10.250.0.1',
    port: 40_004,
  });
});

test('what others flushed is found and repaired', async () => {
  await backend.rebuild([WEB]);
  const before = await iptables.save('nat');
  expect(await backend.foreignChange()).toBe(false);
  iptables.restore('*nat\n:KUBE-PORTALS-CONTAINER - [0:0]\n:PREROUTING - [0:0]\nCOMMIT\n');
  expect(await backend.foreignChange()).toBe(true);
  await backend.prepare();
  await backend.rebuild([WEB]);
  expect(
    parseSave(await iptables.save('nat'))
      .get('nat')
      ?.get('KUBE-PORTALS-CONTAINER'),
  ).toEqual(parseSave(before).get('nat')?.get('KUBE-PORTALS-CONTAINER'));
  expect(await rulesOf('PREROUTING')).toHaveLength(2);
});

test('other settings: jumps of the old ones go', async () => {
  await backend.rebuild([WEB]);
  const addresses = [Ip.parse('10.250.0.1'), Ip.parse('10.251.0.1')];
  const next = await open(iptables, { nodePortAddresses: addresses });
  await next.rebuild([WEB]);
  expect((await rulesOf('OUTPUT')).filter((rule) => rule.endsWith('-j KUBE-NODEPORT-HOST'))).toEqual([
    expect.stringMatching(/^-d 10.250.0.1\/32 /),
    expect.stringMatching(/^-d 10.251.0.1\/32 /),
  ]);
});

test('removed, nothing is left of it, and what others have stays', async () => {
  iptables.restore('*nat\n:OTHER - [0:0]\n-A PREROUTING -j OTHER\nCOMMIT\n');
  await backend.rebuild([WEB]);
  await backend.remove();
  expect(`${await iptables.save('nat')}${await iptables.save('filter')}`).not.toContain('KUBE');
  expect(await rulesOf('PREROUTING')).toEqual(['-j OTHER']);
  await backend.drained();
});

const flow = (source: string, id: number, destination = '10.96.0.1') => ({
  family: 4 as const,
  protocol: 17,
  original: { source: '10.244.1.9', sourcePort: 4000 + id, destination, destinationPort: 53 },
  reply: {
    source,
    sourcePort: source === destination ? 53 : 39_999,
    destination: '10.244.1.9',
    destinationPort: 4000 + id,
  },
  id,
});

test('UDP flows that no rule was asked for are let go, others stay', async () => {
  const [untranslated, former, elsewhere, stranger] = [
    flow('10.96.0.1', 1),
    flow('10.250.0.1', 2),
    flow('10.244.1.1', 3),
    flow('8.8.8.8', 4, '8.8.8.8'),
  ];
  const dns = servicePort({ protocol: 'UDP', port: 53, endpoints: [endpoint(1)] });
  for (const bring of [async () => backend.rebuild([dns]), async () => backend.update(change(dns))]) {
    await backend.rebuild([]);
    conntrack.flows = [untranslated, former, elsewhere, stranger];
    await bring();
    expect(conntrack.flows).toEqual([elsewhere, stranger]);
  }
});

describe('what becomes of a packet', () => {
  const NODE = { addresses: ['127.0.0.1', '10.250.0.1', '10.244.1.1'] };
  const all: Verdict = {
    kind: 'endpoints',
    endpoints: ['10.244.1.1:8080', '10.244.1.2:8080'],
    masqueraded: ['10.244.1.1:8080', '10.244.1.2:8080'],
  };
  const local: Verdict = {
    kind: 'endpoints',
    endpoints: ['10.244.1.1:8080'],
    masqueraded: ['10.244.1.1:8080'],
  };
  const drop: Verdict = { kind: 'drop' };
  const pass: Verdict = { kind: 'pass' };
  const pod = ['10.244.1.9', 'veth1'] as const;
  const out = ['198.51.100.7', 'eth0'] as const;
  const other = ['203.0.113.7', 'eth0'] as const;
  const self = ['10.250.0.1', undefined] as const;
  test.each([
    ['pod, ClusterIP', pod, '10.96.0.1', 80, all],
    ['node, ClusterIP', self, '10.96.0.1', 80, all],
    ['outside, ClusterIP', out, '10.96.0.1', 80, all],
    ['pod, other port', pod, '10.96.0.1', 81, pass],
    ['pod, external IP', pod, '192.0.2.9', 80, all],
    ['outside, external IP', out, '192.0.2.9', 80, local],
    ['outside, node port', out, '10.250.0.1', 30_080, local],
    ['outside, node port at another address of the node', out, '10.244.1.1', 30_080, local],
    ['node, node port at loopback', self, '127.0.0.1', 30_080, all],
    ['outside, node port of another machine', out, '10.250.0.2', 30_080, pass],
    ['outside, load balancer, in the range', out, '192.0.2.20', 80, local],
    ['outside, load balancer, not in the range', other, '192.0.2.20', 80, drop],
    ['node, load balancer, not in the range', self, '192.0.2.20', 80, drop],
    ['outside, a port of the proxy', out, '10.250.0.1', FAKE_PORTS.TCP.all, { kind: 'reject' }],
  ] as const)('%s', async (_, [source, inputDevice], destination, port, verdict) => {
    await backend.update(change(WEB));
    const family = backend.natFamilies[0];
    const tracer = family === undefined ? undefined : await UserspaceTracer.read(family, NODE);
    expect(tracer?.trace({ source, inputDevice, destination, port, protocol: 'TCP' })).toEqual(verdict);
  });
});

interface Step {
  readonly service: number;
  readonly port: Partial<ServicePort> | undefined;
}

const endpoints = fc.subarray([endpoint(1, true), endpoint(2, true), endpoint(3), endpoint(4)]);

function stepArbitrary(shareNodePorts: boolean): fc.Arbitrary<Step> {
  return fc.integer({ min: 0, max: 11 }).chain((service) =>
    fc.record({
      service: fc.constant(service),
      port: fc.option(
        fc
          .record({
            family: fc.constant(4 as const),
            protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
            address: fc.constantFrom(`10.96.0.${service}`, `10.96.1.${service}`),
            nodePort: fc.constantFrom(0, 30_000 + (shareNodePorts ? service % 3 : service)),
            externalIps: fc.constantFrom([], [`192.0.2.${service}`]),
            loadBalancerIps: fc.constantFrom([], [`192.0.2.${100 + service}`], [`192.0.2.${service}`]),
            sourceRanges: fc.constantFrom(undefined, [], ['0.0.0.0/0'], ['10.250.0.0/16', '10.244.7.0/24']),
            internalLocal: fc.boolean(),
            externalLocal: fc.boolean(),
            affinitySeconds: fc.constantFrom(0, 10),
            endpoints,
            hasEndpoints: fc.boolean(),
          })
          .map((part) => ({ ...part, hasEndpoints: part.hasEndpoints || part.endpoints.length > 0 })),
        { nil: undefined, freq: 5 },
      ),
    }),
  );
}

function portOf({ service, port }: Step): ServicePort {
  const name = `test/s${service}`;
  // One id whatever the protocol, so that it changes too.
  return { ...servicePort({ ...port, service: name }), id: `${name}:80/TCP/4` };
}

test(
  '500 random changes: after each, the kernel holds what a full sync would write',
  { timeout: 60_000 },
  async () => {
    const [steps] = fc.sample(fc.array(stepArbitrary(false), { minLength: 500, maxLength: 500 }), 1);
    const present = new Map<string, ServicePort>();
    for (const step of steps ?? []) {
      const port = portOf(step);
      if (step.port === undefined) present.delete(port.id);
      else present.set(port.id, port);
      await backend.update([{ id: port.id, port: step.port === undefined ? undefined : port }]);
      const scratch = new FakeIptables(4);
      const fresh = await open(scratch);
      await fresh.rebuild(present.values());
      for (const table of ['nat', 'filter'] as const) {
        const kernel = parseSave(await iptables.save(table)).get(table);
        const wanted = parseSave(await scratch.save(table)).get(table);
        expect([...(kernel?.keys() ?? [])].sort()).toEqual([...(wanted?.keys() ?? [])].sort());
        for (const [chain, rules] of wanted ?? [])
          expect(kernel?.get(chain)?.toSorted()).toEqual(rules.toSorted());
      }
      // And in an order that means the same.
      expect((await backend.rebuild(present.values())).describe()).toEqual([]);
    }
  },
);

test(
  'random changes of Services that want the same node ports: each is served for exactly one of them',
  { timeout: 60_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(stepArbitrary(true), { maxLength: 40 }), async (steps) => {
        const kernel = new FakeIptables(4);
        const tested = await open(kernel);
        await tested.rebuild([]);
        const present = new Map<string, ServicePort>();
        for (const step of steps) {
          const port = portOf(step);
          if (step.port === undefined) present.delete(port.id);
          else present.set(port.id, port);
          await tested.update([{ id: port.id, port: step.port === undefined ? undefined : port }]);
          const wanted = new Set(
            [...present.values()]
              .filter(({ nodePort }) => nodePort > 0)
              .map((one) => `${one.protocol} ${one.nodePort}`),
          );
          for (const one of wanted) {
            const [protocol, nodePort] = one.split(' ') as ['TCP' | 'UDP', string];
            const served = tested.natFamilies[0]?.table.find(protocol, 4, '10.250.0.1', Number(nodePort));
            const owner = present.get(served?.balancer.port.id ?? '');
            expect(owner).toMatchObject({ protocol, nodePort: Number(nodePort) });
            const rules = [
              ...(await rulesOf('KUBE-NODEPORT-HOST', 'nat', kernel)),
              ...(await rulesOf('KUBE-NODEPORT-CONTAINER', 'nat', kernel)),
              ...(await rulesOf('KUBE-NODEPORT-FIREWALL', 'filter', kernel)),
            ].filter(
              (rule) =>
                rule.includes(`-p ${protocol.toLowerCase()} `) && rule.includes(`--dport ${nodePort} `),
            );
            expect(rules.length).toBeGreaterThan(0);
            for (const rule of rules) expect(rule).toContain(`"${owner?.service}"`);
          }
        }
      }),
      { numRuns: 40 },
    );
  },
);
