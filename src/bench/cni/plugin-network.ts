import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { netnsPath, withNetns } from '../../kernel/netns/netns.ts';

export type CniCommand = 'ADD' | 'DEL';

export interface PluginNetworkOptions {
  /** Descriptor of the node's network namespace. */
  readonly netns: number;
  /** For the configuration and for what plugins say. */
  readonly folder: string;
  readonly plugin: string;
  /** CNI_PATH. */
  readonly path: string;
  readonly configuration: object;
}

/** A plugin with its configuration, executed as a container runtime does. */
export class PluginNetwork {
  readonly #options: PluginNetworkOptions;
  readonly #input: string;

  constructor(options: PluginNetworkOptions) {
    this.#options = options;
    this.#input = join(options.folder, 'plugin-input.json');
    writeFileSync(this.#input, JSON.stringify(options.configuration));
  }

  /** Milliseconds from the start of the process to its end. Throws PLUGIN_FAILED with what the plugin said. */
  call(command: CniCommand, pod: string): number {
    const { netns, plugin } = this.#options;
    const input = readFileSync(this.#input);
    return withNetns(netns, () => {
      const started = performance.now();
      const { status, stdout } = spawnSync(plugin, [], { input, env: this.#environment(command, pod) });
      const elapsed = performance.now() - started;
      if (status !== 0) throw failed(command, pod, stdout.toString());
      return elapsed;
    });
  }

  /** As `call`, for all pods at once: milliseconds until the last has ended. */
  async callAll(command: CniCommand, pods: readonly string[]): Promise<number> {
    const { netns, plugin, folder } = this.#options;
    const output = join(folder, 'plugin-output.json');
    const out = openSync(output, 'w');
    const started = performance.now();
    const ends = pods.map(async (pod) => {
      // Each its own: the position in the file is shared by those who share the descriptor.
      const input = openSync(this.#input, 'r');
      const child = withNetns(netns, () =>
        spawn(plugin, [], { stdio: [input, out, 'ignore'], env: this.#environment(command, pod) }),
      );
      closeSync(input);
      const [code] = (await once(child, 'exit')) as [number | null];
      if (code !== 0) throw failed(command, pod, readFileSync(output, 'utf8'));
    });
    const settled = await Promise.allSettled(ends);
    const elapsed = performance.now() - started;
    closeSync(out);
    for (const end of settled) if (end.status === 'rejected') throw end.reason;
    return elapsed;
  }

  #environment(command: CniCommand, pod: string): Record<string, string> {
    return {
      // Plugins look for iptables and the like.
      PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
      CNI_COMMAND: command,
      CNI_CONTAINERID: pod,
      CNI_NETNS: netnsPath(pod),
      CNI_IFNAME: 'eth0',
      CNI_PATH: this.#options.path,
    };
  }
}

const failed = (command: CniCommand, pod: string, said: string): FlatnetError =>
  new FlatnetError(`${command} of ${pod}: ${said.trim()}`, { code: 'PLUGIN_FAILED' });
