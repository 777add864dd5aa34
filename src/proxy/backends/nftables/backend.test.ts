import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { FakeNft } from '../../../kernel/nft/fake.ts';
import { addressField, indexField } from '../../../kernel/nft/field.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import type { ServiceEndpoint, ServicePort } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { Verdict } from '../../verdict.ts';
import { NftablesBackend } from './backend.ts';
import { describeChanges } from './describe.ts';
import { proxySets } from './sets.ts';
import { NftablesTracer } from './tracer.ts';

const NODE_IPS = [Ip.parse('10.250.0.1'), Ip.parse('fd00:250::1')];
const SETTINGS: ProxySettings = {
  families: [4],
  nodeIps: NODE_IPS,
  nodePortAddresses: NODE_IPS,
  localhostNodePorts: false,
  localTraffic: { kind: 'cidrs', cidrs: [Cidr.parse('10.244.0.0/16')] },
  serviceCidrs: [Cidr.parse('10.96.0.0/16')],
  masqueradeAll: false,
  masqueradeBit: 14,
};
const SETS = proxySets(4);

async function start(nft: FakeNft, settings = SETTINGS): Promise<NftablesBackend> {
  const backend = new NftablesBackend(nft, settings);
  await backend.prepare();
  return backend;
}

const endpoint = (last: number, local = false): ServiceEndpoint => ({
  address: `10.244.1.${last}`,
  port: 8080,
  local,
});

const port = (overrides: Partial<ServicePort> = {}): ServicePort =>
  servicePort({
    service: 'shop/web',
    address: '10.96.0.80',
    endpoints: [endpoint(1), endpoint(2), endpoint(3)],
    ...overrides,
  });

const linesOf = (nft: FakeNft): string[] => describeChanges(nft.transactions.at(-1) ?? []);

const tracerOf = (nft: FakeNft): NftablesTracer =>
  new NftablesTracer(nft, SETTINGS, { addresses: ['10.250.0.1', '127.0.0.1'] });

function trace(nft: FakeNft, destination: string, number = 80, source = '10.244.9.9'): Verdict {
  return tracerOf(nft).trace({ source, destination, protocol: 'TCP', port: number, inputDevice: 'eth0' });
}

const reached = (verdict: Verdict): readonly string[] =>
  verdict.kind === 'endpoints' ? verdict.endpoints : [verdict.kind];

const endpointArb = fc.integer({ min: 1, max: 6 }).map((n) => endpoint(n, n < 3));
const few = <T>(...items: T[]): fc.Arbitrary<T[]> => fc.subarray(items);

const portArb: fc.Arbitrary<ServicePort> = fc
  .record({
    name: fc.constantFrom('a', 'b', 'c'),
    number: fc.constantFrom(80, 81),
    protocol: fc.constantFrom('TCP' as const, 'UDP' as const, 'SCTP' as const),
    // Few addresses and node ports: Services get into each other's way, as those do that follow one another.
    ip: fc.integer({ min: 1, max: 3 }),
    nodePort: fc.constantFrom(0, 30080, 30081),
    externalIps: few('192.0.2.1', '192.0.2.2'),
    loadBalancerIps: few('192.0.2.2', '192.0.2.3'),
    sourceRanges: fc.option(few('10.0.0.0/8', '203.0.113.7/32', '0.0.0.0/0'), { nil: undefined }),
    internalLocal: fc.boolean(),
    externalLocal: fc.boolean(),
    affinitySeconds: fc.constantFrom(0, 100, 10_800),
    endpoints: fc.uniqueArray(endpointArb, { selector: ({ address }) => address, maxLength: 5 }),
  })
  .map(({ name, number, ip, ...rest }) =>
    servicePort({ ...rest, service: `shop/${name}`, address: `10.96.0.${ip}`, port: number }),
  );

const stepArb = fc.oneof(
  { weight: 4, arbitrary: portArb.map((wanted) => ({ id: wanted.id, port: wanted })) },
  { weight: 1, arbitrary: portArb.map((gone) => ({ id: gone.id, port: undefined })) },
);

test('the first sync of many goes in several transactions, each of which is of use; any later one in one', async () => {
  const ports = Array.from({ length: 1201 }, (_, index) =>
    port({ service: `shop/s${index}`, address: `10.96.${index >> 8}.${index & 255}` }),
  );
  const nft = new FakeNft();
  const backend = await start(nft);
  const made = nft.transactions.length;
  const lines = (await backend.rebuild(ports)).describe();
  expect(nft.transactions.length - made).toBe(3);
  expect(nft.elements(SETS.serviceIps)).toHaveLength(ports.length);
  expect(nft.elements(SETS.endpoints)).toHaveLength(3 * ports.length);
  expect(reached(trace(nft, '10.96.4.176'))).toHaveLength(3);
  expect(lines.length).toBeGreaterThan(ports.length);
  expect(await backend.foreignChange()).toBe(false);
  expect((await (await start(nft)).rebuild(ports)).describe()).toEqual([]);
  await backend.rebuild(ports.slice(0, 600));
  expect(nft.transactions.length - made).toBe(4);
});

test('what the kernel refuses on the way fails the first sync, and the next one mends it', async () => {
  const ports = Array.from({ length: 1001 }, (_, index) =>
    port({ service: `shop/s${index}`, address: `10.96.${index >> 8}.${index & 255}` }),
  );
  const nft = new FakeNft();
  const backend = await start(nft);
  nft.failNext = new FlatnetError('no', { code: 'ENOMEM' });
  await expect(backend.rebuild(ports)).rejects.toThrow('no');
  await backend.prepare();
  await backend.rebuild(ports);
  expect(nft.elements(SETS.serviceIps)).toHaveLength(ports.length);
  expect((await (await start(nft)).rebuild(ports)).describe()).toEqual([]);
});

describe('any history of changes', () => {
  test.each([
    ['at some addresses', SETTINGS],
    ['at all addresses', { ...SETTINGS, nodePortAddresses: 'all' }],
  ] as const)(
    'with node ports %s leaves nothing to do for a full sync, of the process or a new one',
    async (_, settings) => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(stepArb, { minLength: 1, maxLength: 4 }), { maxLength: 12 }),
          async (history) => {
            const nft = new FakeNft();
            const backend = await start(nft, settings);
            await backend.rebuild([]);
            const now = new Map<string, ServicePort>();
            for (const batch of history) {
              await backend.update(batch);
              for (const step of batch) {
                now.delete(step.id);
                if (step.port !== undefined) now.set(step.id, step.port);
              }
            }
            const { conflicts, describe: lines } = await backend.rebuild(now.values());
            // Who came first among several is known to the process that saw them come, and to no other.
            if (conflicts.length > 0) return;
            expect(lines()).toEqual([]);
            const next = await start(nft, settings);
            expect((await next.rebuild(now.values())).describe()).toEqual([]);
          },
        ),
        { numRuns: 60 },
      );
    },
  );
});

describe('one change', () => {
  test('touches the elements of its endpoint alone', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([port(), port({ id: 'shop/x:80/TCP/4', address: '10.96.0.81' })]);
    await backend.update([
      { id: port().id, port: port({ endpoints: [endpoint(1), endpoint(9), endpoint(3)] }) },
    ]);
    expect(linesOf(nft)).toEqual([
      '- ip endpoints 8 . 1 : 10.244.1.2 . 8080',
      '+ ip endpoints 8 . 1 : 10.244.1.9 . 8080',
    ]);
  });

  test('of an address leaves the endpoints alone', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([port()]);
    const external = { nodePort: 30080, externalIps: ['192.0.2.1'], loadBalancerIps: ['192.0.2.2'] };
    await backend.update([{ id: port().id, port: port({ ...external, sourceRanges: ['198.51.100.0/24'] }) }]);
    expect(linesOf(nft)).toEqual([
      '+ ip service-ips 192.0.2.1 . TCP . 80 : 10',
      '+ ip service-ips 192.0.2.2 . TCP . 80 : 10',
      '+ ip service-ips 10.250.0.1 . TCP . 30080 : 10',
      '+ ip firewall-ips 192.0.2.2 . TCP . 80 : 256',
      '+ ip source-ranges 280 . 198.51.100.0',
    ]);
  });

  test('that changes nothing for the kernel is not sent to it', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([port()]);
    const before = nft.transactions.length;
    const reversed = port({ endpoints: [...port().endpoints].reverse() });
    expect((await backend.update([{ id: port().id, port: reversed }])).describe()).toEqual([]);
    expect(nft.transactions).toHaveLength(before);
  });

  test.each([
    [
      'an affinity time',
      { affinitySeconds: 60 },
      ['+ ip chain lb-60s', '+ ip lb-sticky 15360 : goto lb-60s'],
    ],
    [
      'a size',
      { endpoints: Array.from({ length: 1500 }, (_, n) => ({ ...endpoint(1), port: 2000 + n })) },
      ['+ ip chain lb-2048', '+ ip lb-large 139 : goto lb-2048'],
    ],
  ])(
    'that needs a chain for %s that no other needed makes it before what leads there',
    async (_, part, made) => {
      const nft = new FakeNft();
      const backend = await start(nft);
      await backend.rebuild([]);
      await backend.update([{ id: port().id, port: port(part) }]);
      expect(linesOf(nft).slice(0, 2)).toEqual(made);
    },
  );
});

describe('endpoints of clients that stay', () => {
  test('keep their own numbers when others come and go', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    const own = (): (string | undefined)[] => {
      const endpoints = new Map(nft.elements(SETS.endpoints).map(({ key, value }) => [value, key]));
      return [2, 3].map((last) => endpoints.get(addressField(`10.244.1.${last}`) + '\x1f\x90\0\0'));
    };
    await backend.rebuild([port({ affinitySeconds: 10_800 })]);
    const before = own();
    expect(before).not.toContain(undefined);
    const endpoints = [endpoint(7), endpoint(3), endpoint(2)];
    await backend.update([{ id: port().id, port: port({ affinitySeconds: 10_800, endpoints }) }]);
    expect(own()).toEqual(before);
    const next = await start(nft);
    await next.rebuild([port({ affinitySeconds: 10_800, endpoints: [endpoint(3), endpoint(2)] })]);
    expect(own()).toEqual(before);
  });
});

describe('masquerade', () => {
  const local = port({ endpoints: [endpoint(1, true)], nodePort: 30080 });
  const remote = port({ endpoints: [endpoint(1)], nodePort: 30080 });

  test.each([
    ['a pod to a ClusterIP', local, '10.244.2.2', '10.96.0.80', 80, false],
    ['an endpoint of this node to itself', local, '10.244.1.1', '10.96.0.80', 80, true],
    ['an endpoint elsewhere', remote, '10.244.1.1', '10.96.0.80', 80, false],
    ['a machine off the cluster to a ClusterIP', local, '192.0.2.1', '10.96.0.80', 80, true],
    ['anybody to a node port', local, '10.244.2.2', '10.250.0.1', 30080, true],
  ] as const)('of %s', async (_, wanted, source, destination, number, masqueraded) => {
    const nft = new FakeNft();
    await (await start(nft)).rebuild([wanted]);
    expect(trace(nft, destination, number, source)).toEqual({
      kind: 'endpoints',
      endpoints: ['10.244.1.1:8080'],
      masqueraded: masqueraded ? ['10.244.1.1:8080'] : [],
    });
  });
});

test('source ranges admit whom they contain, and nobody else, whatever their lengths', async () => {
  const range = fc.tuple(fc.ipV4(), fc.integer({ min: 0, max: 32 })).map(([ip, length]) => `${ip}/${length}`);
  await fc.assert(
    fc.asyncProperty(
      fc.array(range, { maxLength: 6 }),
      fc.array(fc.ipV4(), { maxLength: 4 }),
      async (ranges, others) => {
        const nft = new FakeNft();
        const guarded = port({ loadBalancerIps: ['192.0.2.2'], sourceRanges: ranges });
        await (await start(nft)).rebuild([guarded]);
        const cidrs = ranges.map((text) => Cidr.parse(text));
        const edges = cidrs.flatMap(({ first, last }) => [first.toString(), last.toString()]);
        const tracer = tracerOf(nft);
        for (const source of [...others, ...edges]) {
          // The node's own address is admitted with the node, which is another row.
          if (source === '192.0.2.2' || source === '10.250.0.1') continue;
          const admitted = cidrs.some((cidr) => cidr.contains(Ip.parse(source)));
          const packet = { source, destination: '192.0.2.2', protocol: 'TCP', port: 80 } as const;
          expect(tracer.trace({ ...packet, inputDevice: 'eth0' }).kind).toBe(admitted ? 'endpoints' : 'drop');
        }
      },
    ),
    { numRuns: 12 },
  );
});

test('after a refused transaction a rebuild puts everything right', async () => {
  const nft = new FakeNft();
  const backend = await start(nft);
  await backend.rebuild([port()]);
  nft.failNext = new FlatnetError('no memory', { code: 'ENOMEM' });
  const wanted = port({ endpoints: [endpoint(7)] });
  await expect(backend.update([{ id: wanted.id, port: wanted }])).rejects.toThrow('no memory');
  expect(await backend.foreignChange()).toBe(true);
  await backend.rebuild([wanted]);
  expect(reached(trace(nft, '10.96.0.80'))).toEqual(['10.244.1.7:8080']);
  expect(await backend.foreignChange()).toBe(false);
});

test('the second of two Services with one address and port is told, and follows when the first goes', async () => {
  const nft = new FakeNft();
  const backend = await start(nft);
  const second = port({ id: 'shop/other:80/TCP/4', endpoints: [endpoint(9)] });
  const { conflicts } = await backend.rebuild([port(), second]);
  expect(conflicts).toEqual([{ id: second.id, owner: port().id, what: '10.96.0.80 TCP port 80' }]);
  await backend.update([{ id: port().id, port: undefined }]);
  expect(reached(trace(nft, '10.96.0.80'))).toEqual(['10.244.1.9:8080']);
});

test.each(['giver first', 'taker first'])(
  'a node port that moves from one Service to another in one batch is no conflict, %s',
  async (order) => {
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
    expect(reached(trace(nft, '10.250.0.1', 30080))).toEqual(['10.244.1.9:8080']);
  },
);

test('more endpoints than a pool can have are told', async () => {
  const nft = new FakeNft();
  const endpoints = Array.from({ length: 32_769 }, (_, n) => ({
    address: `10.${200 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`,
    port: 80,
    local: false,
  }));
  const { failures } = await (await start(nft)).rebuild([port({ endpoints })]);
  expect(failures).toEqual([
    { subject: port().id, message: 'only the first 32768 of its 32769 endpoints get connections' },
  ]);
});

describe('what others do to the table', () => {
  const wanted = port({ nodePort: 30080, affinitySeconds: 60 });
  const table = SETS.table;

  async function watched(): Promise<{ nft: FakeNft; backend: NftablesBackend; told: () => number }> {
    const nft = new FakeNft();
    const backend = await start(nft);
    let count = 0;
    backend.watch(() => (count += 1));
    await backend.rebuild([wanted]);
    return { nft, backend, told: () => count };
  }

  test.each([
    ['an element deleted', (nft: FakeNft) => nft.elements(SETS.endpoints).slice(0, 1)],
    ['all elements deleted', (nft: FakeNft) => nft.elements(SETS.endpoints)],
  ])('%s: is told and put back', async (_, harmed) => {
    const { nft, backend, told } = await watched();
    const before = nft.elements(SETS.endpoints);
    nft.commitElsewhere([{ operation: 'delete', set: SETS.endpoints, elements: harmed(nft) }]);
    expect(told()).toBe(1);
    expect(await backend.foreignChange()).toBe(true);
    await backend.prepare();
    await backend.rebuild([wanted]);
    expect(new Set(nft.elements(SETS.endpoints))).toEqual(new Set(before));
    expect(await backend.foreignChange()).toBe(false);
    expect(linesOf(nft)).not.toContain('- ip table flatnet-proxy');
  });

  test.each([
    ['a rule that is replaced by another', 'services', [[{ statement: 'drop' }]]],
    ['a chain flushed', 'lb', []],
    ['a chain of the rare ones flushed', 'lb-60s', []],
  ] as const)(
    '%s: the table is made anew in one transaction, clients stay with their endpoints',
    async (_, chain, rules) => {
      const { nft, backend, told } = await watched();
      const before = nft.ruleCounts(table);
      const [held] = nft.elements(SETS.pools);
      const client = { key: addressField('10.244.3.1') + (held?.key ?? ''), value: indexField(0x10000) };
      const elements = [{ ...client, timeoutMs: 60_000, expiresMs: 50_000 }];
      nft.commit([{ operation: 'add', set: SETS.affinity, elements }]);
      nft.commitElsewhere([{ operation: 'write-chain', table, chain, rules }]);
      expect(told()).toBe(1);
      const transactions = nft.transactions.length;
      await backend.prepare();
      await backend.rebuild([wanted]);
      expect(nft.transactions).toHaveLength(transactions + 1);
      expect(nft.ruleCounts(table)).toEqual(before);
      expect(nft.rules(table, 'services')).not.toEqual([[{ statement: 'drop' }]]);
      expect(nft.elements(SETS.affinity)).toEqual(elements);
      expect(reached(trace(nft, '10.96.0.80'))).toHaveLength(3);
    },
  );

  test('its own changes and what is done to other tables are not told', async () => {
    const { nft, backend, told } = await watched();
    await backend.update([{ id: wanted.id, port: { ...wanted, endpoints: [endpoint(9)] } }]);
    nft.commitElsewhere([{ operation: 'add-table', table: { family: 'ip', name: 'other' } }]);
    await backend.update([{ id: wanted.id, port: { ...wanted, endpoints: [endpoint(8)] } }]);
    expect([told(), await backend.foreignChange()]).toEqual([0, false]);
  });

  test('where nobody listens, any change of anybody counts, also when an own one came after it', async () => {
    const nft = new FakeNft();
    const backend = await start(nft);
    await backend.rebuild([wanted]);
    expect(await backend.foreignChange()).toBe(false);
    nft.commitElsewhere([{ operation: 'add-table', table: { family: 'ip', name: 'other' } }]);
    await backend.update([{ id: wanted.id, port: { ...wanted, endpoints: [endpoint(8)] } }]);
    expect(await backend.foreignChange()).toBe(true);
  });
});

describe('a table that is there at start', () => {
  test('of an earlier layout serves on until everything is there to replace it', async () => {
    const nft = new FakeNft();
    const old = { table: SETS.table, name: 'balancers', kind: 'map' } as const;
    nft.commit([
      { operation: 'add-table', table: SETS.table },
      { operation: 'add-set', set: old, type: { key: ['mark'], data: ['mark'] } },
      { operation: 'write-chain', table: SETS.table, chain: 'ruleset-0123456789ab', rules: [] },
    ]);
    const backend = await start(nft);
    expect(nft.transactions).toHaveLength(1);
    await backend.rebuild([port()]);
    expect(nft.transactions).toHaveLength(2);
    expect(nft.chains(SETS.table)).not.toContain('ruleset-0123456789ab');
    expect(() => nft.elements(old)).toThrow('ENOENT');
    expect(reached(trace(nft, '10.96.0.80'))).toHaveLength(3);
  });

  test('of other settings is replaced in one transaction, and keeps the numbers of Services', async () => {
    const nft = new FakeNft();
    await (await start(nft)).rebuild([port({ id: 'a:1/TCP/4', address: '10.96.0.1' }), port()]);
    const before = nft.elements(SETS.serviceIps);
    const next = await start(nft, { ...SETTINGS, masqueradeAll: true });
    const transactions = nft.transactions.length;
    await next.rebuild([port(), port({ id: 'a:1/TCP/4', address: '10.96.0.1' })]);
    expect(nft.transactions).toHaveLength(transactions + 1);
    expect(new Set(nft.elements(SETS.serviceIps))).toEqual(new Set(before));
  });

  test('is taken away by remove, in both families', async () => {
    const nft = new FakeNft();
    const backend = await start(nft, { ...SETTINGS, families: [4, 6] });
    await backend.rebuild([port()]);
    await backend.remove();
    expect(([4, 6] as const).map((family) => nft.hasTable(proxySets(family).table))).toEqual([false, false]);
    await backend.remove();
  });
});
