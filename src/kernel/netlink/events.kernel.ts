import { afterEach, beforeEach, expect, test } from 'vitest';
import { Cidr } from '../../net/cidr.ts';
import { Ip } from '../../net/ip.ts';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { LinuxRouteKernel } from './apply.ts';
import type { RouteEvent, RouteEventGroup } from './objects.ts';

let netns: Netns;
let kernel: LinuxRouteKernel;
let control: AbortController;

beforeEach(() => {
  netns = Netns.createAnonymous();
  kernel = LinuxRouteKernel.open(netns.fd);
  control = new AbortController();
});

afterEach(() => {
  control.abort();
  kernel.close();
  netns.close();
});

function addManyRoutes(): void {
  for (let n = 0; n < 500; n += 1) {
    kernel.addRoute({ destination: new Cidr(Ip.parse('10.0.0.0').plus(n * 256), 24), link: 1 });
  }
}

/** Collects events until `last` says yes to one. */
async function watchUntil(
  groups: readonly RouteEventGroup[],
  last: (event: RouteEvent) => boolean,
  action: () => Promise<void> | void,
  receiveBufferBytes?: number,
): Promise<RouteEvent[]> {
  const seen: RouteEvent[] = [];
  const finished = new Promise<void>((resolve) => {
    const onEvent = (event: RouteEvent): void => {
      seen.push(event);
      if (last(event)) resolve();
    };
    const size = receiveBufferBytes === undefined ? {} : { receiveBufferBytes };
    kernel.watch({ groups, signal: control.signal, onEvent, ...size });
  });
  await action();
  await finished;
  return seen;
}

test('changes that others make are told, of every group', async () => {
  const commands = [
    'ip link set lo up',
    'ip addr add 10.1.0.1/24 dev lo',
    'ip route add 10.2.0.0/16 dev lo proto 80',
    'ip neigh add 10.1.0.9 lladdr 02:00:00:00:00:09 dev lo nud permanent',
    'ip rule add pref 77 lookup 1000',
    'ip link add br0 type bridge',
    'ip link del br0',
  ];
  const seen = await watchUntil(
    ['link', 'address', 'route', 'neighbour', 'rule'],
    (event) => event.kind === 'link' && event.action === 'delete',
    async () => {
      for (const command of commands) {
        const [tool = '', ...args] = command.split(' ');
        await run(tool, args, { netns: netns.fd });
      }
    },
  );
  const told = new Set(seen.map((event) => event.kind));
  expect([...told].sort()).toEqual(expect.arrayContaining(['address', 'link', 'neighbour', 'route', 'rule']));
  expect(seen.some((event) => event.kind === 'rule' && event.rule.priority === 77)).toBe(true);
  expect(seen.some((event) => event.kind === 'route' && event.route.protocol === 80)).toBe(true);
});

test('a port that leaves its bridge is not a link that is gone', async () => {
  const bridge = kernel.addLink({ kind: 'bridge', name: 'br0' });
  const veth = kernel.addLink({ kind: 'veth', name: 'v0', peer: { name: 'p0' }, master: bridge?.index ?? 0 });
  const index = veth?.index ?? 0;
  const seen = await watchUntil(
    ['link'],
    (event) => event.kind === 'link' && event.link.mtu === 1300,
    () => {
      kernel.changeLink(index, { master: null });
      kernel.changeLink(index, { mtu: 1300 });
    },
  );
  expect(seen.filter((event) => event.kind === 'link' && event.action === 'delete')).toEqual([]);
});

test('when more happens than the buffer holds, resync is told and later changes are told again', async () => {
  kernel.changeLink(1, { up: true });
  const lost = await watchUntil(
    ['route'],
    (event) => event.kind === 'resync',
    () => {
      // All within one turn of the event loop: nobody reads meanwhile.
      addManyRoutes();
    },
    4096,
  );
  expect(lost.at(-1)).toEqual({ kind: 'resync', reason: 'ENOBUFS' });
  expect(lost.length).toBeLessThan(500);
});

test('after a resync the same watch goes on', async () => {
  kernel.changeLink(1, { up: true });
  const probe = Cidr.parse('192.0.2.0/24');
  let resynced = false;
  const seen = await watchUntil(
    ['route'],
    (event) => {
      if (event.kind === 'resync' && !resynced) {
        resynced = true;
        kernel.addRoute({ destination: probe, link: 1 });
      }
      return event.kind === 'route' && event.route.destination.equals(probe);
    },
    () => {
      addManyRoutes();
    },
    4096,
  );
  expect(seen.at(-1)).toMatchObject({ kind: 'route', action: 'set' });
});

test('waiting costs no processor time, and does not hold the event loop', async () => {
  kernel.watch({ groups: ['link', 'route'], signal: control.signal, onEvent: () => {} });
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 300));
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000).toBeLessThan(100);
});
