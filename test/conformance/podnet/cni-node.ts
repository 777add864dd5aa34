import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { vi } from 'vitest';
import { hostVethName } from '../../../src/cni/host-veth.ts';
import { LinuxRouteKernel } from '../../../src/kernel/netlink/apply.ts';
import { netnsPath } from '../../../src/kernel/netns/netns.ts';
import { CniDriver, type Conflist, type Container } from './cni-driver.ts';
import { SmallCluster } from './small-cluster.ts';
import type { SmallNode } from './small-node.ts';

export interface AddJson extends Record<string, unknown> {
  readonly cniVersion: string;
  readonly interfaces: { name: string; mac: string; sandbox?: string; mtu?: number }[];
  readonly ips: { address: string; gateway?: string; version?: string; interface: number }[];
  readonly routes: { dst: string; gw?: string; priority?: number }[];
  readonly dns: object;
}

/** A cluster with a driver of one of its nodes, and what tests look at there. */
export class CniNode {
  readonly cluster: SmallCluster;
  readonly node: SmallNode;
  readonly driver: CniDriver;
  #count = 0;

  constructor(cluster: SmallCluster, node: SmallNode) {
    this.cluster = cluster;
    this.node = node;
    this.driver = this.driverOf('1.1.0');
  }

  driverOf(newest: string): CniDriver {
    const path = [join(this.node.folder, 'bin'), '/usr/lib/cni'];
    return new CniDriver({
      cache: join(this.node.folder, `results-${newest}`),
      path,
      netns: this.node.netns.fd,
      newest,
    });
  }

  /** A container with a namespace of its own, not connected. */
  container(more: Partial<Container> = {}): Container {
    this.#count += 1;
    const id = this.cluster.podName(`d${this.#count}-${this.node.index}`);
    this.cluster.createNamespace(id);
    return { id, netns: netnsPath(id), ...more };
  }

  /** A list with this plugin first. */
  list(plugin: object = {}, list: object = {}, ...chained: Conflist['plugins']): Conflist {
    const socketPath = join(this.node.folder, 'cni.sock');
    const capabilities = { ips: true, mac: true, aliases: true, portMappings: true, bandwidth: true };
    const own = { type: 'flatnet', socketPath, capabilities, ...plugin };
    return {
      name: 'cbr0',
      cniVersion: '1.1.0',
      ...list,
      plugins: [own, ...chained.map((each) => ({ ...each }))],
    };
  }

  /** A machine that does much else gives its agents little time. */
  async ready(): Promise<void> {
    await vi.waitFor(async () => this.node.ready(), { timeout: 60_000 });
  }

  async add(list: Conflist, container: Container, driver = this.driver): Promise<AddJson> {
    return (await driver.add(list, container)) as unknown as AddJson;
  }

  inside<T>({ id }: Container, look: (kernel: LinuxRouteKernel) => T): T {
    const kernel = LinuxRouteKernel.open(netnsPath(id));
    try {
      return look(kernel);
    } finally {
      kernel.close();
    }
  }

  veth(container: Container): ReturnType<LinuxRouteKernel['link']> {
    return this.node.kernel.link(
      hostVethName({ containerId: container.id, ifName: container.ifName ?? 'eth0' }),
    );
  }

  reservations(network = 'cbr0'): string[] {
    return filesOf(join(this.node.folder, 'networks', network)).filter(
      (name) => /^[0-9a-f.:]+$/.test(name) && /[.:]/.test(name),
    );
  }

  /** The file that the agent keeps its attachments in. */
  get journal(): string {
    return join(this.node.folder, 'flatnet', 'cbr0', 'attachments');
  }

  /** What is written of each attachment that the node has, by `containerID:ifname`. */
  written(): Map<string, unknown> {
    const lines = existsSync(this.journal) ? readFileSync(this.journal, 'utf8').trim().split('\n') : [];
    const live = lines.filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      live.map((line) => {
        const record = JSON.parse(line) as { readonly containerID: string; readonly ifname: string };
        return [`${record.containerID}:${record.ifname}`, record];
      }),
    );
  }

  records(): string[] {
    return [...this.written().keys()];
  }

  /** Every pod's interface that the node has. */
  veths(): string[] {
    return this.node.kernel
      .links()
      .filter(({ name, kind }) => kind === 'veth' && name !== 'eth0')
      .map(({ name }) => name);
  }

  /** Throws what ping says when there is no answer. */
  async ping(from: Container, to: string): Promise<void> {
    await this.cluster.inside(from.id, 'ping', '-c1', '-W2', to);
  }
}

export const addressOf = (result: AddJson, index = 0): string =>
  result.ips[index]?.address.split('/')[0] ?? '';

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
