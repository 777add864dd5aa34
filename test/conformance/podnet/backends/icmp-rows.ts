import { setTimeout as after } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { WORLD_MTU } from '../small-fabric.ts';
import { DatagramReceiver, DatagramSender } from './datagrams.ts';
import { expectedOf, sweep } from './packet-sizes.ts';
import type { Party, Scene } from './scene.ts';
import { SLOWNESS, UNDERLAY_MTU, type Subject } from './subject.ts';

/** Nobody listens there (RFC 863, discard). */
const CLOSED_PORT = 9;

const NARROW_MTU = 1400;

/** What the network says of packets that it does not deliver, and that it says so of every one. */
export function icmpRows(subject: Subject, scene: () => Scene): void {
  const { families, reaches } = subject;
  const mtu = UNDERLAY_MTU - subject.overhead;
  const others = [...(reaches.near ? ['near'] : []), ...(reaches.far ? ['far'] : [])];

  test.concurrent.each(families.flatMap((family) => ['neighbour', ...others].map((to) => ({ family, to }))))(
    'IPv$family: a pod hears that a port of the $to pod is closed',
    async ({ family, to }) => {
      const ip = scene().party(to).ip(family);
      expect(await heard(scene().party('here'), ip, CLOSED_PORT, 100)).toBe('ECONNREFUSED');
    },
  );

  // A router between the nodes would answer to a node, which cannot tell the pod.
  const nextNodes = others.filter((to) => to === 'near' || subject.inheritsTtl !== true);
  const atHome = Array.from({ length: subject.hopsAtHome ?? 1 }, (_, index) => index + 1);
  const hops = [
    ...others.flatMap((to) => atHome.map((hop) => ({ hop, to, at: 1 }))),
    ...nextNodes.map((to) => ({ hop: atHome.length + 1, to, at: to === 'near' ? 2 : 3 })),
  ];
  test.concurrent.each(families.flatMap((family) => hops.map((hop) => ({ ...hop, family }))))(
    'IPv$family: time exceeded at hop $hop to the $to pod comes from node $at',
    async ({ family, hop, to, at }) => {
      const ip = scene().party(to).ip(family);
      // Routers limit how many errors they send to one host (RFC 4443, section 2.4 f): rows that run beside this one
      // may have used them up for a second.
      const ask = async (): Promise<string | undefined> => {
        const failed = scene().ping('here', ip, '-c1', '-W1', '-t', String(hop));
        const output = await failed.catch((error: { stdout: string }) => error.stdout);
        return /From (\S+) icmp_seq=1 Time (?:to live )?exceeded/.exec(output)?.[1];
      };
      let from = await ask();
      for (let more = 0; more < 5 && from === undefined; more += 1) from = await ask();
      expect(scene().cluster.node(at).ips).toContain(from);
    },
  );

  test.concurrent.each(families)('IPv%s: a pod hears of a smaller MTU out in the world', async (family) => {
    const world = scene().party('world');
    const receiver = new DatagramReceiver(world, family);
    const code = await heard(scene().party('here'), world.ip(family), receiver.port, WORLD_MTU + 50);
    receiver.close();
    expect(code).toBe('EMSGSIZE');
  });

  const sweeps = families.flatMap((family) =>
    ['neighbour', ...others].flatMap((to) =>
      (['whole', 'divide'] as const).map((packets) => ({ family, to, packets })),
    ),
  );
  test.concurrent.each(sweeps)(
    `IPv$family: packets of ${mtu - 60} to ${mtu + 60} bytes to the $to pod ($packets): none is lost silently`,
    async ({ family, to, packets }) => {
      const what = { from: scene().party('here'), to: scene().party(to), family, mtu, packets };
      expect(await sweep(what)).toEqual(expectedOf(what));
    },
  );

  // Where pods have what the underlay has, nothing inside is smaller.
  const ways = subject.overhead === 0 || !reaches.near ? [] : [1, 2];
  test.concurrent.each(families.flatMap((family) => ways.map((way) => ({ family, way }))))(
    'IPv$family: somebody outside, whose packets for a pod come in by node $way, is told of the smaller MTU inside',
    async ({ family, way }) => {
      // By the pod's own node, and by another. Each row has a pod to itself: they run at the same time.
      const to = scene().party(way === 1 ? 'near' : 'neighbour-of-near');
      scene().cluster.fabric.addRoute(to.ip(family), scene().host(way).ip(family));
      const what = { from: scene().party('router'), to, family, mtu, packets: 'whole' } as const;
      expect((await sweep(what)).lost).toBe('');
    },
  );
}

/** A router on the way that takes less than the nodes' own interfaces: all alone, for all packets are concerned. */
export function narrowPathRows(subject: Subject, scene: () => Scene): void {
  const families = subject.reaches.far ? subject.families : [];
  test.each(
    families.flatMap((family) => (['whole', 'divide'] as const).map((packets) => ({ family, packets }))),
  )(
    'IPv$family: over a path that is narrower between the nodes, no packet is lost silently ($packets)',
    async ({ family, packets }) => {
      const { fabric } = scene().cluster;
      fabric.farMtu = NARROW_MTU;
      try {
        const mtu = NARROW_MTU - subject.overhead;
        const what = { from: scene().party('here'), to: scene().party('far'), family, mtu, packets };
        expect((await sweep(what)).lost).toBe('');
      } finally {
        fabric.farMtu = UNDERLAY_MTU;
      }
    },
  );
}

/** Sends until an error comes; returns its name. */
async function heard(from: Party, ip: string, port: number, size: number): Promise<string> {
  const sender = new DatagramSender(from, ip, port, 'whole');
  const deadline = performance.now() + 3000 * SLOWNESS;
  try {
    for (;;) {
      const code = sender.send(size, 1) || sender.error();
      if (code !== '' || performance.now() > deadline) return code;
      await after(20);
    }
  } finally {
    sender.close();
  }
}
