import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import {
  addressesOfIp,
  addressToIp,
  fdbOfIp,
  fdbToIp,
  linkOfIp,
  linkToIp,
  type Names,
  neighbourOfIp,
  neighbourToIp,
  routeOfIp,
  routeToIp,
  ruleOfIp,
  ruleToIp,
  sorted,
} from '../../../test/conformance/netlink/ip-words.ts';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { LinuxRouteKernel } from './apply.ts';

// The objects are made by `ip` and `bridge`, and must read as those tools show them.
const COMMANDS = `
ip link set lo up
ip link add br0 mtu 1450 type bridge ageing_time 20000
ip link add v0 mtu 1450 type veth peer name p0
ip link add v1 type veth peer name p1
ip link set v0 up master br0 alias default/web-0
ip link set p0 up
ip link set v1 up
ip link set br0 up
bridge link set dev v0 hairpin on isolated on
ip link add flannel.1 type vxlan id 1 local 192.0.2.1 dev v1 dstport 8472 nolearning gbp
ip link add vx6 type vxlan id 7 local fd00::9 dstport 4789
ip link set flannel.1 up
ip addr add 10.1.0.1/24 broadcast + dev br0
ip addr add 10.244.1.0/32 dev flannel.1
ip addr add 10.9.0.1 peer 10.9.0.2/32 dev v1
ip addr add fd00::1/64 dev br0 nodad
ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 80
ip route add 10.2.0.0/16 via 10.1.0.2 metric 7 mtu 1300
ip route add blackhole 10.4.0.0/26 proto 80
ip route add 10.6.0.0/16 dev br0 table 1000
ip route add default via 10.1.0.254 src 10.1.0.1
ip route add 10.7.0.0/16 nexthop via 10.1.0.2 nexthop via 10.1.0.3 weight 3
ip route add 10.8.0.0/16 via inet6 fd00::2 dev br0
ip -6 route add fd02::/64 via fd00::2 metric 5 mtu 1280
ip -6 route add blackhole fd03::/64
ip neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent
ip neigh add fd00::2 lladdr 02:00:00:00:00:03 dev br0 nud stale
bridge fdb add 02:00:00:00:00:02 dev flannel.1 dst 192.0.2.2 self permanent
bridge fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.0.2.3 self permanent
bridge fdb add 02:00:00:00:00:04 dev v0 master static
ip rule add pref 100 from 10.244.0.0/16 fwmark 0x10/0xff table 1000
ip rule add not to 10.0.0.0/8 pref 99 iif v0 lookup main suppress_prefixlength 0
ip -6 rule add from fd00::/64 oif v1 pref 98 lookup 1000
`;

let netns: Netns;
let kernel: LinuxRouteKernel;
let names: Names;

async function json(tool: string, ...args: string[]): Promise<Record<string, unknown>[]> {
  const { stdout } = await run(tool, args, { netns: netns.fd });
  const parsed = JSON.parse(stdout) as Record<string, unknown>[];
  // `ip` prints an empty object for what its filters leave out.
  return parsed.filter((one) => Object.keys(one).length > 0);
}

beforeAll(async () => {
  netns = Netns.createAnonymous();
  kernel = LinuxRouteKernel.open(netns.fd);
  for (const line of COMMANDS.trim().split('\n')) {
    const [tool = '', ...args] = line.split(' ');
    await run(tool, args, { netns: netns.fd });
  }
  const byIndex = new Map(kernel.links().map((link) => [link.index, link.name]));
  names = (index) => byIndex.get(index);
});

afterAll(() => {
  kernel.close();
  netns.close();
});

test('links', async () => {
  const theirs = await json('ip', '-j', '-d', 'link');
  const ours = kernel.links().map((link) => linkToIp(link, names));
  expect(ours.length).toBeGreaterThanOrEqual(8);
  expect(sorted(ours)).toEqual(sorted(theirs.map(linkOfIp)));
});

test('addresses', async () => {
  const theirs = await json('ip', '-j', '-d', '-N', 'addr');
  const ours = kernel.addresses().map((address) => addressToIp(address, names));
  expect(ours.length).toBeGreaterThanOrEqual(8);
  expect(sorted(ours)).toEqual(sorted(theirs.flatMap(addressesOfIp)));
});

test.each([4, 6] as const)('IPv%i routes of all tables', async (family) => {
  const theirs = await json('ip', `-${family}`, '-j', '-d', '-N', 'route', 'show', 'table', 'all');
  const ours = kernel.routes({ family }).map((route) => routeToIp(route, names));
  expect(ours.length).toBeGreaterThanOrEqual(8);
  expect(sorted(ours)).toEqual(sorted(theirs.map(routeOfIp)));
});

test('routes of one table, of one link, of one protocol', async () => {
  const show = ['-4', '-j', '-d', '-N', 'route', 'show', 'table'];
  const link = kernel.link('br0')?.index ?? 0;
  for (const [filter, args, atLeast] of [
    [{ table: 1000 }, ['1000'], 1],
    [{ table: 254, protocol: 80 }, ['main', 'proto', '80'], 2],
    [{ table: 254, link }, ['main', 'dev', 'br0'], 3],
  ] as const) {
    // `ip` itself leaves out routes with several next hops when asked for one link; the kernel does not.
    const ours = kernel.routes({ family: 4, ...filter }).filter((route) => route.nextHops === undefined);
    const theirs = await json('ip', ...show, ...args);
    const found = ours.map((route) => routeToIp(route, names)['dst']);
    expect(sorted(found)).toEqual(sorted(theirs.map((route) => route['dst'])));
    expect(found.length).toBeGreaterThanOrEqual(atLeast);
  }
});

test('neighbours', async () => {
  // The kernel's own IPv6 messages make neighbours (multicast ones) at any time, between the two readings too.
  await vi.waitFor(async () => {
    const theirs = await json('ip', '-j', 'neigh', 'show', 'nud', 'all');
    const ours = kernel.neighbours().map((neighbour) => neighbourToIp(neighbour, names));
    expect(ours.length).toBeGreaterThanOrEqual(2);
    expect(sorted(ours)).toEqual(sorted(theirs.map(neighbourOfIp)));
  });
});

test('forwarding entries', async () => {
  const theirs = await json('bridge', '-j', 'fdb', 'show');
  const ours = kernel.fdb().map((entry) => fdbToIp(entry, names));
  expect(ours.length).toBeGreaterThanOrEqual(4);
  expect(sorted(ours)).toEqual(sorted(theirs.map(fdbOfIp)));
});

test.each([4, 6] as const)('IPv%i rules', async (family) => {
  const theirs = await json('ip', `-${family}`, '-j', '-N', 'rule');
  const ours = kernel.rules(family).map(ruleToIp);
  expect(ours.length).toBeGreaterThanOrEqual(3);
  expect(sorted(ours)).toEqual(sorted(theirs.map(ruleOfIp)));
});
