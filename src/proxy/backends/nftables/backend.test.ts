import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { FakeConntrack } from '../../../kernel/conntrack/fake.ts';
import type { Flow } from '../../../kernel/conntrack/objects.ts';
import { FakeNft } from '../../../kernel/nft/fake.ts';
import { addressField, endpointData, portField, protocolField } from '../../../kernel/nft/field.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import { NftablesBackend } from './backend.ts';
import { describeChanges } from './describe.ts';
import { proxySets } from './sets.ts';
import { ProxyTracer, type TraceResult } from './tracer.ts';

const NODE_IPS = [Ip.parse('10.250.0.1'), Ip.parse('fd00:250::1')];
const CLUSTER_CIDRS = [Cidr.parse('10.244.0.0/16')];

const OPTIONS: ProxySettings = {
  families: [4, 6],
  nodeIps: NODE_IPS,
  nodePortAddresses: NODE_IPS,
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: CLUSTER_CIDRS },
  serviceCidrs: [],
  masqueradeAll: false,
  masqueradeBit: 14,
};

const SETS = proxySets(4);

async function start(nft: FakeNft, conntrack = new FakeConntrack()): Promise<NftablesBackend> {
  const backend = new NftablesBackend(nft, OPTIONS, conntrack);
  await backend.prepare();
  return backend;
}

function port(overrides: Partial<ServicePort> = {}): ServicePort {
  return servicePort({
    service: 'shop/web',
    address: '10.96.0.80',
    endpoints: [endpoint(1), endpoint(2), endpoint(3)],
    ...overrides,
  });
}

const endpoint = (last: number, local = false): ServiceEndpoint => ({
  address: `10.244.1.${last}`,
  port: 8080,
  local,
});

function lines(nft: FakeNft): string[] {
  return describeChanges(nft.transactions.at(-1) ?? []);
}

const endpointArb = fc.integer({ min: 1, max: 6 }).map((n) => endpoint(n, n < 3));

const portArb: fc.Arbitrary<ServicePort> = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    number: fc.constantFrom(80, 81),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
    // Few addresses and node ports: Services get into each other's way, as those do that follow one another.
    ip: fc.integer({ min: 1, max: 3 }),
    nodePort: fc.constantFrom(0, 30080, 30081),
    affinitySeconds: fc.constantFrom(0, 100),
    endpoints: fc.uniqueArray(endpointArb, { selector: ({ address }) => address, maxLength: 5 }),
  })
  .map(({ name, number, ip, ...rest }) =>
    servicePort({ ...rest, service: `shop/${name}`, address: `10.96.0.${ip}`, port: number }),
  );

const stepArb = fc.oneof(
  { weight: 4, arbitrary: portArb.map((wanted) => ({ id: wanted.id, port: wanted })) },
  {
    weight: 1,
    arbitrary: portArb.map((gone) => ({ id: gone.id, port: undefined })),
  },
);

/** What the packets of a client should meet, from the list of service ports alone; the oldest claim wins. */
function expectedAt(
  owners: ReadonlyMap<string, ServicePort>,
  clusterIps: ReadonlySet<string>,
  destination: string,
  number: number,
  protocol: string,
): string[] {
  const atNode = destination === '10.250.0.1';
  const owner = owners.get(atNode ? `node ${protocol} ${number}` : `${destination} ${protocol} ${number}`);
  if (owner === undefined) return [!atNode && clusterIps.has(destination) ? 'refuse' : 'pass'];
  if (owner.endpoints.length === 0) return ['refuse'];
  return owner.endpoints.map(({ address, port }) => `${address} ${port}`).sort();
}

function reachable(
  tracer: ProxyTracer,
  destination: string,
  number: number,
  protocol: 'TCP' | 'UDP',
): string[] {
  const seen = new Set<string>();
  let choices = 1;
  for (let choice = 0; choice < choices; choice += 1) {
    const draw = (n: number): number => {
      choices = n;
      return choice;
    };
    const result = tracer.trace({ source: '10.244.9.9', destination, protocol, port: number, draw });
    seen.add(result.verdict === 'dnat' ? `${result.address} ${result.port}` : result.verdict);
  }
  return [...seen].sort();
}

describe('any history of changes', () => {
  test('leaves in the kernel what the service ports ask for, and a new process finds nothing to do', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(stepArb, { minLength: 1, maxLength: 4 }), { maxLength: 12 }),
        async (history) => {
          const nft = new FakeNft();
          const backend = await start(nft);
          await backend.rebuild([]);
          const now = new Map<string, ServicePort>();
          for (const batch of history) {
            await backend.update(batch);
            for (const step of batch) {
              now.delete(step.id);
              if (step.port !== undefined) now.set(step.id, step.port);
            }
          }
          const tracer = new ProxyTracer(nft, SETS, 4, CLUSTER_CIDRS);
          const clusterIps = new Set([...now.values()].map(({ address }) => address));
          for (const [destination, number] of targets()) {
            for (const protocol of ['TCP', 'UDP'] as const) {
              const got = reachable(tracer, destination, number, protocol);
              // Where several claim a key, any of them may have it, but exactly one has.
              const candidates = claimants(now, destination, number, protocol).map((owner) =>
                expectedAt(
                  new Map([[keyAt(destination, number, protocol), owner]]),
                  clusterIps,
                  destination,
                  number,
                  protocol,
                ),
              );
              const allowed =
                candidates.length > 0
                  ? candidates
                  : [expectedAt(new Map(), clusterIps, destination, number, protocol)];
              expect(allowed).toContainEqual(got);
            }
          }
          const conflictFree = [...now.values()].every((one) => isAlone(one, now));
          if (!conflictFree) return;
          const next = await start(nft);
          expect((await next.rebuild([...now.values()])).changes).toEqual([]);
        },
      ),
      { numRuns: 150 },
    );
  });
});

const keyAt = (destination: string, number: number, protocol: string): string =>
  destination === '10.250.0.1' ? `node ${protocol} ${number}` : `${destination} ${protocol} ${number}`;

function targets(): [string, number][] {
  return [
    ...['10.96.0.1', '10.96.0.2', '10.96.0.3', '10.96.0.4'].flatMap((ip): [string, number][] => [
      [ip, 80],
      [ip, 81],
    ]),
    ['10.250.0.1', 30080],
    ['10.250.0.1', 30081],
  ];
}

function claimants(
  ports: ReadonlyMap<string, ServicePort>,
  destination: string,
  number: number,
  protocol: string,
): ServicePort[] {
  return [...ports.values()].filter((one) => {
    if (one.protocol !== protocol) return false;
    if (destination === '10.250.0.1') return one.nodePort === number;
    return one.address === destination && one.port === number;
  });
}

function isAlone(one: ServicePort, ports: ReadonlyMap<string, ServicePort>): boolean {
  const sameEntry = claimants(ports, one.address, one.port, one.protocol);
  const sameNodePort = one.nodePort === 0 ? [] : claimants(ports, '10.250.0.1', one.nodePort, one.protocol);
  return sameEntry.length === 1 && sameNodePort.length <= 1;
}

describe('one change', () => {
  test('touches the elements of its endpoint alone', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([port(), port({ id: 'shop/x:80/TCP/4', address: '10.96.0.81' })]);
    await backend.update([
      { id: port().id, port: port({ endpoints: [endpoint(1), endpoint(9), endpoint(3)] }) },
    ]);
    expect(lines(nft)).toEqual([
      '- ip endpoints 10.96.0.80 . TCP . 80 . 1 : 10.244.1.2 . 8080',
      '+ ip endpoints 10.96.0.80 . TCP . 80 . 1 : 10.244.1.9 . 8080',
    ]);
  });

  test('that changes nothing for the kernel is not sent to it', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([port()]);
    const before = nft.transactions.length;
    const { changes } = await backend.update([
      { id: port().id, port: port({ endpoints: [...port().endpoints].reverse() }) },
    ]);
    expect(changes).toEqual([]);
    expect(nft.transactions.slice(before).flat()).toEqual([]);
  });

  test('adds the chain for a number of endpoints before the first element that leads to it', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([]);
    await backend.update([{ id: port().id, port: port({ nodePort: 30080, affinitySeconds: 60 }) }]);
    expect(lines(nft).filter((line) => /chain|balancers|learners|service-ips/.test(line))).toEqual([
      '+ ip chain lb-3',
      '+ ip balancers 3 : goto lb-3',
      '+ ip chain lb-3-affinity',
      '+ ip balancers 65539 : goto lb-3-affinity',
      '+ ip chain nodeport-3',
      '+ ip nodeport-balancers 3 : goto nodeport-3',
      '+ ip chain nodeport-3-affinity',
      '+ ip nodeport-balancers 65539 : goto nodeport-3-affinity',
      '+ ip chain learn-60s',
      '+ ip learners 60 : goto learn-60s',
      '+ ip service-ips 10.96.0.80 . TCP . 80 : 65539',
    ]);
  });
});

async function traceOne(
  wanted: ServicePort,
  source: string,
  destination: string,
  number: number,
): Promise<TraceResult> {
  const nft = new FakeNft();
  await (await start(nft)).rebuild([wanted]);
  const tracer = new ProxyTracer(nft, SETS, 4, CLUSTER_CIDRS);
  return tracer.trace({ source, destination, protocol: 'TCP', port: number, draw: () => 0 });
}

describe('masquerade', () => {
  const local = port({ endpoints: [endpoint(1, true)], nodePort: 30080 });
  const remote = port({ endpoints: [endpoint(1)], nodePort: 30080 });

  test.each([
    ['a pod to a ClusterIP', local, '10.244.2.2', '10.96.0.80', 80, false],
    ['an endpoint of this node to itself', local, '10.244.1.1', '10.96.0.80', 80, true],
    ['an endpoint elsewhere', remote, '10.244.1.1', '10.96.0.80', 80, false],
    ['a machine off the cluster to a ClusterIP', local, '192.0.2.1', '10.96.0.80', 80, true],
    ['anybody to a node port', local, '10.244.2.2', '10.250.0.1', 30080, true],
  ] as const)('of %s', async (_, wanted, source, destination, number, masquerade) => {
    expect(await traceOne(wanted, source, destination, number)).toEqual({
      verdict: 'dnat',
      address: '10.244.1.1',
      port: 8080,
      masquerade,
    });
  });
});

const flow = (source: string, reached: string): Flow => ({
  family: 4,
  protocol: 17,
  original: { source, sourcePort: 4000, destination: '10.96.0.80', destinationPort: 80 },
  reply: { source: reached, sourcePort: 8080, destination: source, destinationPort: 4000 },
  id: 1,
});

const client = (source: string): string =>
  addressField(source) + addressField('10.96.0.80') + protocolField('TCP') + portField(80);

describe('what the kernel remembers of endpoints that are gone', () => {
  test('UDP flows to them are deleted, and no others', async () => {
    const conntrack = new FakeConntrack();
    const backend = await start(new FakeNft(), conntrack);
    const udp = port({ id: 'shop/dns:80/UDP/4', protocol: 'UDP' });
    await backend.rebuild([udp]);
    conntrack.flows = [flow('10.244.3.1', '10.244.1.1'), flow('10.244.3.2', '10.244.1.2')];
    await backend.update([{ id: udp.id, port: { ...udp, endpoints: [endpoint(1), endpoint(3)] } }]);
    expect(conntrack.flows.map(({ reply }) => reply.source)).toEqual(['10.244.1.1']);
    await backend.update([{ id: udp.id, port: undefined }]);
    expect(conntrack.flows).toEqual([]);
  });

  test('clients bound to them are forgotten, and no others', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    const sticky = port({ affinitySeconds: 100 });
    await backend.rebuild([sticky]);
    nft.commit([
      {
        operation: 'add',
        set: SETS.affinity,
        elements: [
          { key: client('10.244.3.1'), value: endpointData('10.244.1.1', 8080) },
          { key: client('10.244.3.2'), value: endpointData('10.244.1.2', 8080) },
        ],
      },
    ]);
    await backend.update([{ id: sticky.id, port: { ...sticky, endpoints: [endpoint(1)] } }]);
    expect(nft.elements(SETS.affinity).map(({ key }) => key)).toEqual([client('10.244.3.1')]);
  });
});

test('after a refused transaction a rebuild puts everything right', async () => {
  const nft = new FakeNft();
  const backend = await start(nft);
  await backend.rebuild([port()]);
  nft.failNext = new FlatnetError('no memory', { code: 'ENOMEM' });
  const wanted = port({ endpoints: [endpoint(7)] });
  await expect(backend.update([{ id: wanted.id, port: wanted }])).rejects.toThrow('no memory');
  await backend.prepare();
  await backend.rebuild([wanted]);
  const tracer = new ProxyTracer(nft, SETS, 4, []);
  expect(reachable(tracer, '10.96.0.80', 80, 'TCP')).toEqual(['10.244.1.7 8080']);
});

test('the second of two Services with one address and port is told, and follows when the first goes', async () => {
  const nft = new FakeNft();
  const backend = await start(nft);
  const second = port({ id: 'shop/other:80/TCP/4', endpoints: [endpoint(9)] });
  const { conflicts } = await backend.rebuild([port(), second]);
  expect(conflicts).toEqual([{ id: second.id, owner: port().id, what: '10.96.0.80 TCP port 80' }]);
  await backend.update([{ id: port().id, port: undefined }]);
  const tracer = new ProxyTracer(nft, SETS, 4, []);
  expect(reachable(tracer, '10.96.0.80', 80, 'TCP')).toEqual(['10.244.1.9 8080']);
});

test('a node port that moves from one Service to another in one batch is no conflict, in either order', async () => {
  for (const order of ['giver first', 'taker first'] as const) {
    const nft = new FakeNft();
    const backend = await start(nft);
    const giver = port({ nodePort: 30080 });
    const taker = port({ id: 'shop/x:80/TCP/4', address: '10.96.0.81', endpoints: [endpoint(9)] });
    await backend.rebuild([giver, taker]);
    const changes = [
      { id: giver.id, port: { ...giver, nodePort: 0 } },
      { id: taker.id, port: { ...taker, nodePort: 30080 } },
    ];
    const { conflicts } = await backend.update(order === 'giver first' ? changes : changes.reverse());
    expect(conflicts).toEqual([]);
    const tracer = new ProxyTracer(nft, SETS, 4, []);
    expect(reachable(tracer, '10.250.0.1', 30080, 'TCP')).toEqual(['10.244.1.9 8080']);
  }
});

test('a foreign transaction is noticed, also when one of our own came after it', async () => {
  const nft = new FakeNft();
  const backend = await start(nft);
  await backend.rebuild([port()]);
  expect(await backend.foreignChange()).toBe(false);
  await backend.update([{ id: port().id, port: port({ endpoints: [endpoint(9)] }) }]);
  expect(await backend.foreignChange()).toBe(false);
  await nft.load('add table ip other\n');
  await backend.update([{ id: port().id, port: port({ endpoints: [endpoint(8)] }) }]);
  expect(await backend.foreignChange()).toBe(true);
  await backend.rebuild([port()]);
  expect(await backend.foreignChange()).toBe(false);
});

describe('what others did to the table is put right:', () => {
  const wanted = port({ nodePort: 30080, affinitySeconds: 60 });

  /** How many rulesets were loaded to have everything as it was. */
  async function loadsToRepair(harm: (nft: FakeNft) => unknown): Promise<number> {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([wanted]);
    const before = { elements: nft.elements(SETS.balancers), rules: new Map(nft.ruleCounts(SETS.table)) };
    await harm(nft);
    const loads = nft.loaded.length;
    await backend.prepare();
    await backend.rebuild([wanted]);
    expect(new Set(nft.elements(SETS.balancers))).toEqual(new Set(before.elements));
    expect(nft.ruleCounts(SETS.table)).toEqual(before.rules);
    return nft.loaded.length - loads;
  }

  test.each(['services', 'balance-services', 'lb-3', 'nodeport-3-affinity', 'learn-60s'])(
    'rules of chain %s flushed',
    async (chain) => {
      const flush = `flush chain ip flatnet-proxy ${chain}\n`;
      expect(await loadsToRepair(async (nft) => nft.load(flush))).toBe(1);
    },
  );

  test('an element that leads to another chain', async () => {
    const loads = await loadsToRepair((nft) => {
      const [first] = nft.elements(SETS.balancers);
      const elements = [{ key: first?.key ?? '' }];
      nft.commit([
        { operation: 'delete', set: SETS.balancers, elements },
        { operation: 'add', set: SETS.balancers, elements: [{ ...elements[0]!, value: 'goto services' }] },
      ]);
    });
    expect(loads).toBe(0);
  });

  test('nothing: nothing is loaded', async () => {
    expect(await loadsToRepair(() => {})).toBe(0);
  });
});
