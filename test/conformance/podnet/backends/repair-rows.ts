import { expect, test, vi } from 'vitest';
import { FlatnetError } from '../../../../src/errors/flatnet-error.ts';
import { formatEntry } from '../../../../src/podnet/backends/entry.ts';
import { KernelEntries, ROUTE_PROTOCOL } from '../../../../src/podnet/backends/kernel-entries.ts';
import type { SmallNode } from '../small-node.ts';
import type { Scene } from './scene.ts';
import { SteadyStream } from './steady-stream.ts';
import { SLOWNESS, type Subject } from './subject.ts';
import { transfer } from './transfer.ts';

/** What users are promised; the test's own reading takes a part of it. */
const REPAIR_MS = 5000 * SLOWNESS;

/** Agents that are killed, things that are taken away, machines that boot. They run one after another. */
export function repairRows(subject: Subject, scene: () => Scene): void {
  const { families, devices, reaches } = subject;
  const others = [...(reaches.near ? ['near'] : []), ...(reaches.far ? ['far'] : [])];

  function entries(node: SmallNode): string[] {
    return new KernelEntries(node.kernel).observe(new Set(devices)).map(formatEntry).sort();
  }

  async function allReached(): Promise<void> {
    for (const to of others) {
      for (const family of families) await transfer(scene().party('here'), scene().party(to), family, 1000);
    }
  }

  test('an agent killed with SIGKILL and started again costs not one packet, and touches nothing', async () => {
    const node = scene().cluster.node(1);
    const before = entries(node);
    const indexes = devices.map((device) => node.kernel.link(device)?.index);
    const here = scene().party('here');
    const ways = ['neighbour', ...others].flatMap((to) => families.map((family) => ({ to, family })));
    const streams = ways.flatMap(({ to, family }) => [
      new SteadyStream(here, scene().party(to), family),
      new SteadyStream(scene().party(to), here, family),
    ]);
    let ends: Awaited<ReturnType<SteadyStream['end']>>[] = [];
    try {
      await node.stopAgent('SIGKILL');
      node.startAgent();
      await node.ready(60_000 * SLOWNESS);
    } finally {
      ends = await Promise.all(streams.map(async (stream) => stream.end()));
    }
    expect(ends.flatMap(({ lost, refused }) => [...lost, ...refused])).toEqual([]);
    expect(entries(node)).toEqual(before);
    expect(devices.map((device) => node.kernel.link(device)?.index)).toEqual(indexes);
  });

  test.each(devices)('device %s, deleted, is back with all peers within 5 s', async (device) => {
    const node = scene().cluster.node(1);
    const before = entries(node);
    const start = performance.now();
    node.kernel.deleteLink(node.kernel.link(device)?.index ?? 0);
    await vi.waitFor(() => expect(entries(node)).toEqual(before), { timeout: REPAIR_MS, interval: 10 });
    await allReached();
    expect(performance.now() - start).toBeLessThan(REPAIR_MS);
  });

  test.each(devices)(
    'device %s, switched off and with another MTU, is as it was within 5 s',
    async (device) => {
      const node = scene().cluster.node(1);
      const before = entries(node);
      node.kernel.changeLink(node.kernel.link(device)?.index ?? 0, { up: false, mtu: 1280 });
      await vi.waitFor(() => expect(entries(node)).toEqual(before), { timeout: REPAIR_MS, interval: 10 });
      await allReached();
    },
  );

  test('routes, ARP and FDB entries of peers, taken away, are back within 5 s', async () => {
    const node = scene().cluster.node(1);
    const before = entries(node);
    removeAll(node, devices);
    await vi.waitFor(() => expect(entries(node)).toEqual(before), { timeout: REPAIR_MS, interval: 10 });
    await allReached();
  });

  test('a node that booted is reached again, and its pods; it is known by the same addresses', async () => {
    const { cluster } = scene();
    const node = cluster.node(2);
    const before = entries(node);
    await cluster.reboot(node);
    node.startAgent();
    await node.ready(60_000 * SLOWNESS);
    await scene().addPod('near', node);
    await scene().converged();
    await vi.waitFor(() => expect(entries(node)).toEqual(before), { timeout: REPAIR_MS, interval: 10 });
    await allReached();
    for (const family of families) {
      if (reaches.near) await transfer(scene().party('near'), scene().party('here'), family, 1000);
      const { source } = await transfer(scene().party('near'), scene().party('world'), family, 1000);
      expect(source).toBe(scene().host(2).ip(family));
    }
  });
}

/** Whatever of peers is there: with a route also its way may be gone already. */
function removeAll({ kernel }: SmallNode, devices: readonly string[]): void {
  for (const { destination } of kernel.routes({ protocol: ROUTE_PROTOCOL })) {
    kernel.deleteRoute({ destination, protocol: ROUTE_PROTOCOL });
  }
  for (const device of devices) {
    const link = kernel.link(device);
    if (link === undefined) throw new FlatnetError(`there is no device ${device}`, { code: 'ENODEV' });
    for (const { ip, state } of kernel.neighbours({ link: link.index })) {
      if (state === 'permanent') kernel.deleteNeighbour({ link: link.index, ip });
    }
    if (link.kind !== 'vxlan') continue;
    for (const { mac, destination, state } of kernel.fdb({ link: link.index })) {
      if (destination !== undefined && state === 'permanent')
        kernel.deleteFdbEntry({ link: link.index, mac, destination });
    }
  }
}
