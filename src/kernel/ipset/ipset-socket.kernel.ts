import { afterEach, beforeEach, expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { FakeIpset } from './fake.ts';
import { IpsetSocket } from './ipset-socket.ts';
import type { Ipset, IpsetKernel } from './objects.ts';

const SETS: readonly (Ipset & { readonly sample: readonly string[] })[] = [
  { name: 'FNT-IP', type: 'hash:ip', family: 4, sample: ['10.96.0.1', '10.96.0.10'] },
  { name: 'FNT-PORT', type: 'hash:ip,port', family: 4, sample: ['10.96.0.1,tcp:80', '10.96.0.1,sctp:80'] },
  { name: 'FNT-IP2', type: 'hash:ip,port,ip', family: 4, sample: ['10.244.1.2,udp:53,10.244.1.2'] },
  {
    name: 'FNT-NET',
    type: 'hash:ip,port,net',
    family: 4,
    sample: [
      '192.0.2.1,tcp:80,198.51.100.0/24',
      '192.0.2.1,tcp:80,198.51.100.7/32',
      '192.0.2.1,tcp:80,128.0.0.0/1',
    ],
  },
  { name: 'FNT-BITS', type: 'bitmap:port', family: 4, sample: ['30080', '30081'] },
  { name: 'FNT-6-IP', type: 'hash:ip', family: 6, sample: ['fd00:96::1'] },
  { name: 'FNT-6-PORT', type: 'hash:ip,port', family: 6, sample: ['fd00:96::1,tcp:80'] },
  { name: 'FNT-6-IP2', type: 'hash:ip,port,ip', family: 6, sample: ['fd00:96::1,tcp:80,fd00:96::1'] },
  { name: 'FNT-6-NET', type: 'hash:ip,port,net', family: 6, sample: ['fd00:96::1,udp:53,2001:db8::/32'] },
];

let netns: Netns;
let ipset: IpsetSocket;

beforeEach(() => {
  netns = Netns.createAnonymous();
  ipset = IpsetSocket.open(netns.fd);
});

afterEach(() => {
  ipset.close();
  netns.close();
});

async function listed(name: string): Promise<string[]> {
  const { stdout } = await run('ipset', ['list', name, '-output', 'save'], { netns: netns.fd });
  return stdout
    .split('\n')
    .filter((line) => line.startsWith('add '))
    .map((line) => line.slice(`add ${name} `.length));
}

/** ipset leaves out prefix lengths that are those of an address. */
function bare(entry: string): string {
  return entry.replace(entry.includes('.') ? /\/32$/ : /\/128$/, '');
}

test.each(SETS.map((set) => [set.name, set] as const))(
  '%s: what is added is what ipset shows and what is read back',
  async (_, set) => {
    ipset.create(set);
    ipset.create(set);
    const add = set.sample.map((entry) => ({ operation: 'add', set, entry }) as const);
    expect(ipset.apply([...add, ...add])).toEqual([]);
    expect(ipset.entries(set.name).sort()).toEqual([...set.sample].sort());
    expect((await listed(set.name)).sort()).toEqual(set.sample.map((entry) => bare(entry)).sort());
    expect(ipset.sets()).toEqual([
      {
        name: set.name,
        type: set.type,
        family: set.type === 'bitmap:port' ? undefined : set.family,
        size: set.sample.length,
        references: 0,
      },
    ]);
    const first = { operation: 'delete', set, entry: set.sample[0] ?? '' } as const;
    expect(ipset.apply([first, first])).toEqual([]);
    expect(ipset.entries(set.name)).toHaveLength(set.sample.length - 1);
    ipset.flush(set.name);
    expect(ipset.entries(set.name)).toEqual([]);
    expect(ipset.destroy(set.name)).toBe(true);
    expect(ipset.destroy(set.name)).toBe(false);
  },
);

test('a set that kube-proxy made with ipset(8) is taken as it is', async () => {
  const args = ['hash:ip,port', 'family', 'inet', 'hashsize', '1024', 'maxelem', '65536'];
  await run('ipset', ['create', 'FNT-PORT', ...args], { netns: netns.fd });
  await run('ipset', ['add', 'FNT-PORT', '10.96.0.1,tcp:443'], { netns: netns.fd });
  ipset.create({ name: 'FNT-PORT', type: 'hash:ip,port', family: 4 });
  expect(ipset.entries('FNT-PORT')).toEqual(['10.96.0.1,tcp:443']);
  expect(() => ipset.create({ name: 'FNT-PORT', type: 'hash:ip', family: 4 })).toThrow(
    'hash:ip,port already',
  );
});

test('the fake refuses what the kernel refuses', () => {
  const set: Ipset = { name: 'FNT-NET', type: 'hash:ip,port,net', family: 4 };
  const entries = [
    '192.0.2.1,tcp:80,0.0.0.0/0',
    '192.0.2.1,tcp:80',
    'fd00::1,tcp:80,10.0.0.0/8',
    '192.0.2.1,icmp:80,10.0.0.0/8',
    '192.0.2.1,tcp:65536,10.0.0.0/8',
    '192.0.2.1,tcp:80,10.0.0.0/8',
  ];
  const outcome = (kernel: IpsetKernel): unknown => {
    kernel.create(set);
    const refusals = kernel.apply(entries.map((entry) => ({ operation: 'add', set, entry })));
    return {
      refused: refusals.map(({ change }) => change.entry),
      entries: kernel.entries(set.name),
      sets: kernel.sets(),
    };
  };
  expect(outcome(ipset)).toEqual(outcome(new FakeIpset()));
});

test('swapped sets have each other’s entries, and a set that a rule looks at stays', async () => {
  const one: Ipset = { name: 'FNT-ONE', type: 'hash:ip', family: 4 };
  const other: Ipset = { ...one, name: 'FNT-OTHER' };
  ipset.create(one);
  ipset.create(other);
  ipset.apply([{ operation: 'add', set: one, entry: '192.0.2.1' }]);
  ipset.swap('FNT-ONE', 'FNT-OTHER');
  expect([ipset.entries('FNT-ONE'), ipset.entries('FNT-OTHER')]).toEqual([[], ['192.0.2.1']]);
  const rule = ['-A', 'INPUT', '-m', 'set', '--match-set', 'FNT-ONE', 'dst', '-j', 'DROP'];
  await run('iptables-legacy', rule, { netns: netns.fd });
  expect(() => ipset.destroy('FNT-ONE')).toThrow('IPSET_BUSY');
});

test('five thousand entries in batches', () => {
  const set: Ipset = { name: 'FNT-PORT', type: 'hash:ip,port', family: 4 };
  ipset.create(set);
  const entries = Array.from({ length: 5000 }, (_, i) => `10.96.${i >> 8}.${i & 255},tcp:80`);
  expect(ipset.apply(entries.map((entry) => ({ operation: 'add', set, entry })))).toEqual([]);
  expect(new Set(ipset.entries('FNT-PORT'))).toEqual(new Set(entries));
});
