import { expect, test } from 'vitest';
import { API_HOST } from '../small-cluster.ts';
import type { Scene } from './scene.ts';
import { SLOWNESS, UNDERLAY_MTU, type Subject } from './subject.ts';
import { transfer } from './transfer.ts';

const SMALL = 10_000;

/** Who reaches whom, with what checksum and under which address. */
export function reachRows(subject: Subject, scene: () => Scene): void {
  const { families, reaches, large = SMALL } = subject;
  const far = [...(reaches.near ? ['near'] : []), ...(reaches.far ? ['far'] : [])];

  test.concurrent.each(families.flatMap((family) => ['neighbour', ...far].map((to) => ({ family, to }))))(
    'IPv$family: a pod and the $to pod reach each other under their own addresses, large transfers arrive unchanged',
    async ({ family, to }) => {
      const [a, b] = [scene().party('here'), scene().party(to)];
      const there = await transfer(a, b, family, large);
      expect(there.arrived).toBe(there.sent);
      expect(there.source).toBe(a.ip(family));
      const back = await transfer(b, a, family, SMALL);
      expect(back).toMatchObject({ arrived: back.sent, source: b.ip(family) });
    },
  );

  test.concurrent.each(families.flatMap((family) => ['here', ...far].map((to) => ({ family, to }))))(
    'IPv$family: a node reaches the $to pod, with an address of its own',
    async ({ family, to }) => {
      const { source } = await transfer(scene().host(1), scene().party(to), family, SMALL);
      expect(scene().cluster.node(1).ips).toContain(source);
    },
  );

  test.concurrent.each(families)('IPv%s: a pod reaches nodes, and is its node to others', async (family) => {
    const here = scene().party('here');
    const own = await transfer(here, scene().host(1), family, SMALL);
    expect(own.arrived).toBe(own.sent);
    for (const index of [2, 3]) {
      const { source } = await transfer(here, scene().host(index), family, SMALL);
      expect(source).toBe(scene().host(1).ip(family));
    }
  });

  test.concurrent.each(families)('IPv%s: a pod reaches the world as its node', async (family) => {
    for (const [pod, node] of [
      ['here', 1],
      ['far', 3],
    ] as const) {
      const { source, sent, arrived } = await transfer(
        scene().party(pod),
        scene().party('world'),
        family,
        1_000_000,
      );
      expect(arrived).toBe(sent);
      expect(source).toBe(scene().host(node).ip(family));
    }
  });

  test.concurrent.each(['here', 'far'])('the %s pod reaches the API server', async (pod) => {
    const patience = ['-m', String(10 * SLOWNESS)];
    const url = `https://${API_HOST}:6443/healthz`;
    const answer = await scene().inside(pod, 'curl', '-sk', ...patience, url);
    expect(answer).toBe('ok');
  });

  const unreached = reaches.far ? [] : families;
  test.concurrent.for(unreached)('IPv%s: pods that cannot be reached are not', async (family) => {
    const there = scene().party('far').ip(family);
    await expect(scene().ping('here', there, '-c1', '-W1')).rejects.toThrow(/100% packet loss|Unreachable/);
  });

  const complaints = subject.complaint === undefined ? [] : [subject.complaint];
  test.concurrent.for(complaints)(
    'the node that cannot be reached is named in log and metrics',
    async (complaint) => {
      const node = scene().cluster.node(1);
      expect(node.log).toMatch(complaint);
      expect(await node.http('/metrics', 10249)).toMatch(
        /flatnet_podnet_node_problems\{node="node-3"\} [12]/,
      );
    },
  );

  test.concurrent('pods have the MTU that the encapsulation leaves, and subnet.env says so', async () => {
    const shown = await scene().inside('here', 'ip', '-o', 'link', 'show', 'eth0');
    expect(shown).toContain(` mtu ${UNDERLAY_MTU - subject.overhead} `);
    expect(scene().cluster.node(1).file('subnet.env')).toContain(
      `FLANNEL_MTU=${UNDERLAY_MTU - subject.overhead}\n`,
    );
  });
}
