import { vi } from 'vitest';
import { Netns } from '../../../../src/kernel/netns/netns.ts';
import type { IpFamily } from '../../../../src/net/ip.ts';
import { API_HOST, SmallCluster } from '../small-cluster.ts';
import { WORLD } from '../small-fabric.ts';
import type { SmallNode } from '../small-node.ts';
import { SLOWNESS, type Subject } from './subject.ts';

/** Somebody who sends and receives: a pod, a node, the host outside. */
export interface Party {
  readonly name: string;
  /** Name under /run/netns. */
  readonly namespace: string;
  readonly netns: Netns;
  ip(family: IpFamily): string;
}

/** Three nodes, the third on another subnet, and pods on them. */
export class Scene {
  readonly subject: Subject;
  readonly cluster: SmallCluster;
  readonly #parties = new Map<string, Party>();
  #podCount = 0;

  private constructor(subject: Subject, cluster: SmallCluster) {
    this.subject = subject;
    this.cluster = cluster;
  }

  static async start(subject: Subject): Promise<Scene> {
    const { backend, families, agent } = subject;
    const dualStack = families.includes(6);
    const more = agent === undefined ? {} : { agent };
    const cluster = await SmallCluster.start({ backend, nodes: 3, dualStack, farFrom: 3, ...more });
    const scene = new Scene(subject, cluster);
    try {
      for (const node of cluster.nodes) node.startAgent();
      await Promise.all(cluster.nodes.map(async (node) => node.ready(60_000 * SLOWNESS)));
      const [one, two, three] = [cluster.node(1), cluster.node(2), cluster.node(3)];
      await Promise.all([
        scene.addPod('here', one),
        scene.addPod('neighbour', one),
        scene.addPod('near', two),
        scene.addPod('neighbour-of-near', two),
        scene.addPod('far', three),
      ]);
      scene.#addParty('world', cluster.podName('world'), [WORLD[4], WORLD[6]]);
      scene.#addParty('router', cluster.podName('fabric'), [API_HOST, 'fd00:30::fe']);
      await scene.converged();
      return scene;
    } catch (error) {
      await scene.stop();
      throw error;
    }
  }

  party(name: string): Party {
    const party = this.#parties.get(name);
    if (party === undefined) throw new Error(`there is nobody called ${name}`);
    return party;
  }

  /** A node itself. */
  host(index: number): Party {
    const { name, netns, place } = this.cluster.node(index);
    const ip = (family: IpFamily): string => (family === 4 ? place.v4 : place.v6);
    return { name, namespace: place.namespace, netns, ip };
  }

  async addPod(name: string, node: SmallNode): Promise<Party> {
    this.#podCount += 1;
    const namespace = this.cluster.podName(`p${this.#podCount}`);
    return this.#addParty(name, namespace, await node.addPodOfAllFamilies(namespace));
  }

  /** Awaits that whoever shall be reachable is. */
  async converged(): Promise<void> {
    const { families, reaches } = this.subject;
    const targets = [...(reaches.near ? ['near'] : []), ...(reaches.far ? ['far'] : [])];
    await Promise.all(
      targets.flatMap((target) =>
        families.map(async (family) =>
          vi.waitFor(async () => this.ping('here', this.party(target).ip(family), '-c1', '-W1'), {
            timeout: 10_000 * SLOWNESS,
            interval: 50,
          }),
        ),
      ),
    );
  }

  /** Returns what ping printed; throws when no answer came. */
  async ping(from: string, ip: string, ...options: string[]): Promise<string> {
    return this.inside(from, 'ping', '-n', ...options, ip);
  }

  async inside(who: string, command: string, ...args: string[]): Promise<string> {
    return this.cluster.inside(this.party(who).namespace, command, ...args);
  }

  async stop(): Promise<void> {
    for (const { netns } of this.#parties.values()) netns.close();
    await this.cluster.stop();
  }

  #addParty(name: string, namespace: string, ips: readonly string[]): Party {
    this.#parties.get(name)?.netns.close();
    const ip = (family: IpFamily): string => {
      const found = ips.find((text) => text.includes(':') === (family === 6));
      if (found === undefined) throw new Error(`${name} has no IPv${family} address`);
      return found;
    };
    const party = { name, namespace, netns: Netns.named(namespace), ip };
    this.#parties.set(name, party);
    return party;
  }
}
