import { spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Netns, withNetns } from '../../kernel/netns/netns.ts';
import {
  childrenOf,
  identifyProcess,
  signalProcess,
  type ProcessIdentity,
} from '../state/process-identity.ts';
import { carriedMounts } from './carried-mounts.ts';
import type { Installation } from './installation.ts';
import { scriptPath } from './scripts.ts';
import { tool } from './tool.ts';

export interface LabNodeOptions {
  readonly name: string;
  /** Name of the network namespace, already attached to the fabric. */
  readonly netns: string;
  /** On the host; everything that the node writes goes below it. */
  readonly folder: string;
  /** Layers of images, shared by all nodes. */
  readonly images: string;
  /** Hidden from the node: it holds keys of the whole cluster. */
  readonly stateDirectory: string;
  /** Files of the node's root that the lab writes: absolute path to content. */
  readonly files: ReadonlyMap<string, NodeFile>;
  readonly installation: Installation;
  /** What must exist inside: programs that are not below `/usr`. */
  readonly needs: readonly string[];
}

interface NodeFile {
  readonly content: string;
  readonly mode?: number;
}

/** A node: network, mount, UTS and PID namespaces with a root of their own, held by a PID 1 that reaps. */
export class LabNode {
  readonly name: string;
  readonly netns: Netns;
  /** PID 1 of the node, as the host sees it. */
  readonly init: ProcessIdentity;
  readonly #holder: ChildProcess;

  private constructor(name: string, netns: Netns, init: ProcessIdentity, holder: ChildProcess) {
    this.name = name;
    this.netns = netns;
    this.init = init;
    this.#holder = holder;
  }

  /** Makes the root and starts PID 1. Throws NODE_NOT_STARTED with the failing step's own words. */
  static async start(options: LabNodeOptions): Promise<LabNode> {
    seed(options);
    const netns = Netns.named(options.netns);
    const args = [
      '--mount',
      '--uts',
      '--pid',
      '--ipc',
      '--fork',
      '--kill-child',
      '--propagation',
      'private',
      '--',
      tool('busybox'),
      'sh',
      scriptPath('node', options.images),
      options.folder,
      options.images,
      options.stateDirectory,
      options.name,
      options.installation.node,
      options.installation.package,
      ...carriedMounts(readFileSync('/proc/self/mountinfo', 'utf8'), options.needs),
    ];
    const holder = withNetns(netns.fd, () =>
      spawn(tool('unshare'), args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true }),
    );
    try {
      await ready(holder, options.name);
      const init = initOf(holder, options.name);
      holder.stdout?.destroy();
      holder.stderr?.destroy();
      return new LabNode(options.name, netns, init, holder);
    } catch (error) {
      holder.kill('SIGKILL');
      netns.close();
      throw error;
    }
  }

  /** A path of the node's root, as the host reaches it. */
  path(inside: string): string {
    return join(`/proc/${this.init.pid}/root`, inside);
  }

  /** Arguments for nsenter(1) that lead into all of the node's namespaces. */
  get enterArguments(): string[] {
    const namespaces = `/proc/${this.init.pid}/ns`;
    return [
      `--net=${namespaces}/net`,
      `--mount=${namespaces}/mnt`,
      `--uts=${namespaces}/uts`,
      `--ipc=${namespaces}/ipc`,
      `--pid=${namespaces}/pid`,
    ];
  }

  /** Starts a program inside of the node. */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    return spawn(tool('nsenter'), [...this.enterArguments, '--', command, ...args], options);
  }

  /** Ends every process of the node; its mounts and the pods' namespaces go with them. */
  async stop(): Promise<void> {
    const gone =
      this.#holder.exitCode === null && this.#holder.signalCode === null
        ? new Promise((resolve) => this.#holder.once('exit', resolve))
        : Promise.resolve();
    signalProcess(this.init, 'SIGKILL');
    await gone;
    this.netns.close();
  }
}

function seed(options: LabNodeOptions): void {
  const seed = join(options.folder, 'seed');
  mkdirSync(seed, { recursive: true });
  for (const [path, { content, mode }] of options.files) {
    mkdirSync(dirname(join(seed, path)), { recursive: true });
    writeFileSync(join(seed, path), content, { mode: mode ?? 0o644 });
  }
}

async function ready(holder: ChildProcess, name: string): Promise<void> {
  let said = '';
  let complaint = '';
  holder.stderr?.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    const fail = (why: string): void =>
      reject(
        new FlatnetError(`node ${name} cannot be started: ${complaint.trim() || why}`, {
          code: 'NODE_NOT_STARTED',
          hint: 'the kernel must allow mount, UTS and PID namespaces and overlayfs',
        }),
      );
    holder.once('error', (error) => fail(error.message));
    holder.once('close', (code, signal) => fail(`its first process ended (${code ?? signal})`));
    holder.stdout?.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (said.includes('ready\n')) resolve();
    });
  });
}

function initOf(holder: ChildProcess, name: string): ProcessIdentity {
  const init = identifyProcess(childrenOf(holder.pid ?? 0)[0] ?? 0);
  if (init !== undefined) return init;
  throw new FlatnetError(`node ${name} ended right after its start`, { code: 'NODE_NOT_STARTED' });
}
