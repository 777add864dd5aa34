import { existsSync, writeFileSync } from 'node:fs';
import { run } from '../../kernel/exec/run.ts';
import type { LabNode } from '../node/lab-node.ts';
import { scriptPath } from '../node/scripts.ts';
import { tool } from '../node/tool.ts';

/**
 * The namespaces that a pod's containers share: network, UTS, IPC. They are held by bind mounts inside of the
 * node, so no process has to stay for them, and they end with the node.
 */
export class Sandbox {
  readonly id: string;
  readonly #node: LabNode;
  readonly #hostNetwork: boolean;

  private constructor(node: LabNode, id: string, hostNetwork: boolean) {
    this.id = id;
    this.#node = node;
    this.#hostNetwork = hostNetwork;
  }

  static async create(
    node: LabNode,
    id: string,
    options: { readonly hostname: string; readonly hostNetwork: boolean; readonly signal?: AbortSignal },
  ): Promise<Sandbox> {
    const sandbox = new Sandbox(node, id, options.hostNetwork);
    // A pod on the host's network has the host's name too; both are simply the node's.
    if (options.hostNetwork) return sandbox;
    for (const file of sandbox.#files) writeFileSync(node.path(file), '');
    const args = [
      ...node.enterArguments,
      '--',
      tool('unshare'),
      `--net=${sandbox.netnsPath}`,
      `--uts=${sandbox.#utsPath}`,
      `--ipc=${sandbox.#ipcPath}`,
      '--',
      tool('busybox'),
      'sh',
      scriptPath('sandbox'),
      options.hostname,
    ];
    await run(tool('nsenter'), args, options.signal === undefined ? {} : { signal: options.signal });
    return sandbox;
  }

  /** Inside of the node: what CNI_NETNS is. */
  get netnsPath(): string {
    return `/run/netns/cni-${this.id}`;
  }

  get #utsPath(): string {
    return `/run/podns/${this.id}.uts`;
  }

  get #ipcPath(): string {
    return `/run/podns/${this.id}.ipc`;
  }

  get #files(): string[] {
    return [this.netnsPath, this.#utsPath, this.#ipcPath];
  }

  /** Arguments for nsenter(1) that lead into the pod, still with the node's files and processes. */
  get enterArguments(): string[] {
    if (this.#hostNetwork) return this.#node.enterArguments;
    const namespaces = `/proc/${this.#node.init.pid}/ns`;
    return [
      `--net=${this.#node.path(this.netnsPath)}`,
      `--uts=${this.#node.path(this.#utsPath)}`,
      `--ipc=${this.#node.path(this.#ipcPath)}`,
      `--mount=${namespaces}/mnt`,
      `--pid=${namespaces}/pid`,
    ];
  }

  async remove(): Promise<void> {
    if (this.#hostNetwork || !this.#files.some((file) => existsSync(this.#node.path(file)))) return;
    await run(tool('nsenter'), [
      ...this.#node.enterArguments,
      '--',
      tool('busybox'),
      'sh',
      scriptPath('sandbox-remove'),
      ...this.#files,
    ]);
  }
}
