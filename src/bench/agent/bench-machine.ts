import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { createNetns, deleteNetns, Netns } from '../../kernel/netns/netns.ts';
import { Ip } from '../../net/ip.ts';

/** A network namespace that stands for a node, with an Ethernet device that leads to another one for the API server. */
export class BenchMachine {
  readonly netns: Netns;
  readonly folder: string;
  readonly ip = '172.30.0.1';
  readonly apiHost = '172.30.0.254';
  /** Where the API server listens. */
  readonly fabric: Netns;
  readonly #names: string[];

  constructor(prefix: string) {
    this.folder = mkdtempSync(join(tmpdir(), `${prefix}-`));
    const [node, fabric] = [`${prefix}-node`, `${prefix}-fabric`];
    this.#names = [node, fabric];
    for (const name of this.#names) createNetns(name);
    this.netns = Netns.named(node);
    this.fabric = Netns.named(fabric);
    this.#join();
  }

  close(): void {
    this.netns.close();
    this.fabric.close();
    for (const name of this.#names) deleteNetns(name);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #join(): void {
    const node = LinuxRouteKernel.open(this.netns.fd);
    const fabric = LinuxRouteKernel.open(this.fabric.fd);
    node.addLink({
      kind: 'veth',
      name: 'eth0',
      up: true,
      peer: { name: 'eth0', netns: this.fabric.fd, up: true },
    });
    for (const [kernel, address] of [
      [node, this.ip],
      [fabric, this.apiHost],
    ] as const) {
      for (const device of ['lo', 'eth0']) kernel.changeLink(kernel.link(device)?.index ?? 0, { up: true });
      const link = kernel.link('eth0')?.index ?? 0;
      kernel.addAddress({ link, ip: Ip.parse(address), prefixLength: 24 });
      kernel.close();
    }
  }
}
