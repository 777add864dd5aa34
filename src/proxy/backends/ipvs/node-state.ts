import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { run } from '../../../kernel/exec/run.ts';
import { readSysctl, writeSysctl } from '../../../kernel/sysctl/sysctl.ts';

/** Kernel settings and modules. */
export interface NodeState {
  /** `6.1.0-18-amd64`. */
  readonly kernelRelease: string;
  /** Whether the module is there, or was built in. */
  hasModule(name: string): boolean;
  /** Loads it; false where that cannot be done. */
  loadModule(name: string): Promise<boolean>;
  /** Undefined where the kernel does not have the setting. */
  readSysctl(key: string): string | undefined;
  writeSysctl(key: string, value: string): void;
}

export class KernelNodeState implements NodeState {
  readonly kernelRelease = release();
  readonly #netns: number | undefined;

  constructor(netns: number | undefined) {
    this.#netns = netns;
  }

  hasModule(name: string): boolean {
    return existsSync(`/sys/module/${name}`);
  }

  async loadModule(name: string): Promise<boolean> {
    if (this.hasModule(name)) return true;
    try {
      await run('modprobe', ['--', name], { timeoutMs: 30_000 });
      return true;
    } catch (error) {
      // Not there, not allowed, or no modprobe: what needs it tells what is missing.
      if (error instanceof FlatnetError) return false;
      throw error;
    }
  }

  readSysctl(key: string): string | undefined {
    try {
      return readSysctl(key, this.#netns);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }

  writeSysctl(key: string, value: string): void {
    writeSysctl(key, value, this.#netns);
  }
}

/** A node in memory that has every module. */
export class FakeNodeState implements NodeState {
  kernelRelease = '6.1.0';
  readonly modules = new Set(['ip_vs', 'dummy']);
  readonly sysctls = new Map<string, string>([
    ['net.ipv4.vs.conntrack', '0'],
    ['net.ipv4.vs.conn_reuse_mode', '1'],
    ['net.ipv4.vs.expire_nodest_conn', '0'],
    ['net.ipv4.vs.expire_quiescent_template', '0'],
    ['net.ipv4.ip_forward', '0'],
    ['net.ipv4.conf.all.arp_ignore', '0'],
    ['net.ipv4.conf.all.arp_announce', '0'],
  ]);

  hasModule(name: string): boolean {
    return this.modules.has(name);
  }

  async loadModule(name: string): Promise<boolean> {
    return Promise.resolve(this.modules.has(name));
  }

  readSysctl(key: string): string | undefined {
    return this.sysctls.get(key);
  }

  writeSysctl(key: string, value: string): void {
    this.sysctls.set(key, value);
  }
}
