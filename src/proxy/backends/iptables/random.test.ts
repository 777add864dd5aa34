import { expect, test } from 'vitest';
import fc from 'fast-check';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { FakeIptables } from '../../../kernel/iptables/fake.ts';
import { TABLES } from '../../../kernel/iptables/objects.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { endpointText } from '../../services/endpoint-text.ts';
import type { TracedPacket, Verdict } from '../../verdict.ts';
import { IptablesBackend } from './backend.ts';
import { CAPTURED_SETTINGS, comparableTables } from './fixtures/captured-cluster.ts';
import { FakeNodeState } from './node-state.ts';
import { IptablesTracer } from './tracer.ts';

const NODE = '10.250.1.2';
const NAMES = ['a', 'b', 'c', 'd', 'e'];

const endpoint: fc.Arbitrary<ServiceEndpoint> = fc
  .record({ node: fc.integer({ min: 0, max: 1 }), host: fc.integer({ min: 2, max: 7 }) })
  .map(({ node, host }) => ({ address: `10.244.${node}.${host}`, port: 8080, local: node === 0 }));

/** One of five Services; its addresses and node port are its own, everything else changes. */
const service: fc.Arbitrary<ServicePort> = fc
  .record({
    index: fc.integer({ min: 0, max: NAMES.length - 1 }),
    ends: fc.uniqueArray(endpoint, { maxLength: 4, selector: ({ address }) => address }),
    internalLocal: fc.boolean(),
    externalLocal: fc.boolean(),
    affinitySeconds: fc.constantFrom(0, 0, 100),
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
    nodePort: fc.boolean(),
    external: fc.boolean(),
    balanced: fc.boolean(),
    ranges: fc.constantFrom(undefined, undefined, ['203.0.113.0/24'], ['10.250.0.0/16', '192.0.2.0/24'], []),
  })
  .map(({ index, ends, nodePort, external, balanced, ranges, ...part }) =>
    servicePort({
      ...part,
      service: `test/${NAMES[index]}`,
      id: `test/${NAMES[index]}:80/TCP/4`,
      address: `10.96.0.${index + 1}`,
      nodePort: nodePort ? 30_000 + index : 0,
      externalIps: external ? [`198.51.100.${index + 1}`] : [],
      loadBalancerIps: balanced ? [`198.51.100.${index + 101}`] : [],
      sourceRanges: ranges,
      endpoints: ends,
      localEndpoints: ends.filter(({ local }) => local),
    }),
  );

const change = fc.oneof(
  { weight: 5, arbitrary: service.map((port) => ({ id: port.id, port })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...NAMES).map((name) => ({ id: `test/${name}:80/TCP/4`, port: undefined })),
  },
);

const packet: fc.Arbitrary<TracedPacket> = fc
  .record({
    index: fc.integer({ min: 0, max: NAMES.length }),
    what: fc.constantFrom('cluster', 'node', 'external', 'balanced'),
    from: fc.constantFrom('10.244.0.3', '10.244.0.99', '203.0.113.5', '192.0.2.9', '172.16.0.1', NODE),
    protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
  })
  .map(({ index, what, from, protocol }) => ({
    source: from,
    destination: {
      cluster: `10.96.0.${index + 1}`,
      node: NODE,
      external: `198.51.100.${index + 1}`,
      balanced: `198.51.100.${index + 101}`,
    }[what],
    protocol,
    port: what === 'node' ? 30_000 + index : 80,
    inputDevice: from === NODE ? undefined : from.startsWith('10.244.') ? 'cni0' : 'eth0',
  }));

type Entry = 'cluster' | 'external' | 'balanced';

function entryOf(port: ServicePort, packet: TracedPacket): Entry | undefined {
  if (packet.protocol !== port.protocol) return undefined;
  if (packet.destination === NODE)
    return port.nodePort !== 0 && packet.port === port.nodePort ? 'external' : undefined;
  if (packet.port !== port.port) return undefined;
  if (packet.destination === port.address) return 'cluster';
  if (port.externalIps.includes(packet.destination)) return 'external';
  return port.loadBalancerIps.includes(packet.destination) ? 'balanced' : undefined;
}

/** What a packet meets, written down without chains. */
function expected(ports: readonly ServicePort[], packet: TracedPacket, settings: ProxySettings): Verdict {
  for (const port of ports) {
    const entry = entryOf(port, packet);
    if (entry === undefined) continue;
    const fromPod = packet.source.startsWith('10.244.');
    const fromNode = packet.source === NODE;
    if (!port.hasEndpoints) {
      // KUBE-EXTERNAL-SERVICES is not in the way of what the node itself sends elsewhere: so it is with kube-proxy.
      return { kind: entry !== 'cluster' && fromNode && packet.destination !== NODE ? 'pass' : 'reject' };
    }
    if (entry === 'cluster') {
      const ends = port.internalLocal ? port.localEndpoints : port.endpoints;
      return verdict(ends, packet, settings.masqueradeAll || !fromPod);
    }
    if (entry === 'balanced' && port.sourceRanges !== undefined) {
      const admitted = port.sourceRanges.some((range) =>
        packet.source.startsWith(range.split('.0')[0] ?? range),
      );
      if (!admitted) return { kind: 'drop' };
    }
    if (!port.externalLocal) return verdict(port.endpoints, packet, true);
    if (fromPod) return verdict(port.endpoints, packet, false);
    return fromNode ? verdict(port.endpoints, packet, true) : verdict(port.localEndpoints, packet, false);
  }
  return { kind: 'pass' };
}

function verdict(ends: readonly ServiceEndpoint[], packet: TracedPacket, masquerade: boolean): Verdict {
  if (ends.length === 0) return { kind: 'drop' };
  const seenAsNode = ends.filter(({ address }) => masquerade || address === packet.source);
  return { kind: 'endpoints', endpoints: texts(ends), masqueraded: texts(seenAsNode) };
}

function texts(ends: readonly ServiceEndpoint[]): string[] {
  return ends.map(({ address, port }) => endpointText(address, port)).sort();
}

/** Services of fifty endpoints each. */
function many(count: number): ServicePort[] {
  return Array.from({ length: count }, (_, index) => {
    const ends = Array.from({ length: 50 }, (_, end) => ({
      address: `10.244.${index}.${end + 1}`,
      port: 80,
      local: false,
    }));
    return servicePort({ service: `test/s${index}`, address: `10.96.1.${index}`, endpoints: ends });
  });
}

async function tablesOf(kernel: FakeIptables): Promise<ReturnType<typeof comparableTables>> {
  const texts = new Map<string, string>();
  for (const table of TABLES) texts.set(table, await kernel.save(table));
  return comparableTables((table) => texts.get(table) ?? '');
}

async function started(kernel: FakeIptables, settings: ProxySettings, ports: readonly ServicePort[]) {
  const backend = new IptablesBackend([kernel], new FakeNodeState(), settings);
  await backend.prepare();
  await backend.rebuild(ports);
  return backend;
}

test('after any change the kernel has what a full sync from scratch makes, and packets meet what is written', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(change, { minLength: 12, maxLength: 12 }),
      fc.array(packet, { minLength: 20, maxLength: 20 }),
      fc.boolean(),
      async (changes, packets, masqueradeAll) => {
        const settings = { ...CAPTURED_SETTINGS, masqueradeAll };
        const kernel = new FakeIptables();
        const backend = await started(kernel, settings, []);
        const ports = new Map<string, ServicePort>();
        for (const one of changes) {
          const report = await backend.update([one]);
          expect(report.conflicts).toEqual([]);
          if (one.port === undefined) ports.delete(one.id);
          else ports.set(one.id, one.port);
          const fresh = new FakeIptables();
          const scratch = await started(fresh, settings, [...ports.values()]);
          expect(await tablesOf(kernel)).toEqual(await tablesOf(fresh));
          expect(report.rules?.total).toBe((await scratch.update([])).rules?.total);
        }
        const tracer = await IptablesTracer.observe([kernel], {
          addresses: [NODE, '127.0.0.1', '10.244.0.1'],
        });
        for (const one of packets)
          expect(tracer.trace(one)).toEqual(expected([...ports.values()], one, settings));
      },
    ),
    // 504 changes in all.
    { numRuns: 42 },
  );
}, 60_000);

test('more than a thousand endpoints: comments go, and come back', async () => {
  const kernel = new FakeIptables();
  const backend = await started(kernel, CAPTURED_SETTINGS, many(20));
  const small = await tablesOf(kernel);
  expect(JSON.stringify(small)).toContain('test/s3 -> 10.244.3.7:80');
  const last = many(21)[20];
  if (last === undefined) throw new Error('21 were made');
  await backend.update([{ id: last.id, port: last }]);
  expect(JSON.stringify(await tablesOf(kernel))).not.toContain('->');
  const fresh = new FakeIptables();
  await started(fresh, CAPTURED_SETTINGS, many(21));
  expect(await tablesOf(kernel)).toEqual(await tablesOf(fresh));
  await backend.update([{ id: last.id, port: undefined }]);
  expect(await tablesOf(kernel)).toEqual(small);
});

test('who comes second waits for address, node port and name, and gets them when they are free', async () => {
  const kernel = new FakeIptables();
  const first = servicePort({
    service: 'test/first',
    nodePort: 30_000,
    endpoints: [{ address: '10.244.0.2', port: 80, local: true }],
  });
  const second = servicePort({
    service: 'test/second',
    nodePort: 30_000,
    endpoints: [{ address: '10.244.0.3', port: 80, local: true }],
  });
  const backend = await started(kernel, CAPTURED_SETTINGS, [first]);
  const report = await backend.update([{ id: second.id, port: second }]);
  expect(report.conflicts.map(({ id, owner, what }) => [id, owner, what])).toEqual([
    [second.id, first.id, '10.96.0.1 TCP port 80'],
    [second.id, first.id, 'node port TCP 30000'],
  ]);
  const reached = async (destination: string, port: number): Promise<Verdict> => {
    const tracer = await IptablesTracer.observe([kernel], { addresses: [NODE] });
    return tracer.trace({ source: '10.244.0.9', destination, protocol: 'TCP', port, inputDevice: 'cni0' });
  };
  expect(await reached('10.96.0.1', 80)).toMatchObject({ endpoints: ['10.244.0.2:80'] });
  await backend.update([{ id: first.id, port: undefined }]);
  expect(await reached('10.96.0.1', 80)).toMatchObject({ endpoints: ['10.244.0.3:80'] });
  expect(await reached(NODE, 30_000)).toMatchObject({ endpoints: ['10.244.0.3:80'] });
});
