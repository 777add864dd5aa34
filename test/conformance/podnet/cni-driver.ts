import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../../src/kernel/exec/run.ts';

type Json = Record<string, unknown>;

/** A network configuration list, as it stands in /etc/cni/net.d. */
export interface Conflist extends Json {
  readonly name: string;
  readonly cniVersion: string;
  readonly plugins: readonly (Json & { readonly type: string })[];
}

/** What a runtime says of one container. */
export interface Container {
  readonly id: string;
  readonly netns: string;
  readonly ifName?: string;
  /** CNI_ARGS. */
  readonly args?: string;
  /** By capability. */
  readonly capabilityArgs?: Json;
}

export interface Attachment {
  readonly containerID: string;
  readonly ifname: string;
}

/** A plugin that has failed, in its own words. */
export class PluginError extends Error {
  readonly code: number;

  constructor(plugin: string, command: string, answer: string) {
    super(`${plugin} ${command}: ${answer}`);
    let code: unknown;
    try {
      code = (JSON.parse(answer) as Json)['code'];
    } catch {
      // Not JSON: the message shows it.
    }
    this.code = typeof code === 'number' ? code : -1;
  }
}

const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
const atLeast = (version: string, other: string): boolean =>
  VERSIONS.indexOf(version) >= VERSIONS.indexOf(other);

/**
 * Runs configuration lists by the rules of libcni: plugins one after the other, each with the result of the one before;
 * results are kept, DEL goes backwards, GC is DEL for what is known and GC for the rest.
 */
export class CniDriver {
  readonly #cache: string;
  readonly #path: readonly string[];
  readonly #netns: number;
  readonly #newest: string;

  /** `path`: folders of plugins. `netns`: of the node. `newest`: the version of the specification that the runtime speaks. */
  constructor(options: { cache: string; path: readonly string[]; netns: number; newest?: string }) {
    this.#cache = options.cache;
    this.#path = options.path;
    this.#netns = options.netns;
    this.#newest = options.newest ?? '1.1.0';
    mkdirSync(this.#cache, { recursive: true });
  }

  /** The highest of `cniVersions` that the runtime speaks too. */
  versionOf(list: Conflist): string {
    const offered = [list.cniVersion, ...((list['cniVersions'] as string[] | undefined) ?? [])];
    return (
      VERSIONS.filter((each) => offered.includes(each) && atLeast(this.#newest, each)).at(-1) ??
      list.cniVersion
    );
  }

  async add(list: Conflist, container: Container): Promise<Json> {
    let result: Json | undefined;
    for (const plugin of list.plugins) {
      const config = this.#config(list, plugin, container, result);
      result = await this.#call(plugin.type, 'ADD', config, container);
    }
    if (result === undefined) throw new Error(`${list.name} has no plugins`);
    writeFileSync(this.#file(list, container), JSON.stringify({ list: list.name, container, result }));
    return result;
  }

  async check(list: Conflist, container: Container): Promise<void> {
    const result = this.cachedResult(list, container);
    for (const plugin of list.plugins) {
      await this.#call(plugin.type, 'CHECK', this.#config(list, plugin, container, result), container);
    }
  }

  async del(list: Conflist, container: Container): Promise<void> {
    const result = atLeast(this.versionOf(list), '0.4.0') ? this.cachedResult(list, container) : undefined;
    for (const plugin of list.plugins.toReversed()) {
      await this.#call(plugin.type, 'DEL', this.#config(list, plugin, container, result), container);
    }
    rmSync(this.#file(list, container), { force: true });
  }

  /** Goes on past errors and throws them together. */
  async gc(list: Conflist, valid: readonly Attachment[]): Promise<void> {
    const errors: unknown[] = [];
    const keep = (error: unknown): void => void errors.push(error);
    const kept = new Set(valid.map(({ containerID, ifname }) => `${containerID}/${ifname}`));
    for (const container of this.#cached(list)) {
      if (!kept.has(`${container.id}/${container.ifName ?? 'eth0'}`))
        await this.del(list, container).catch(keep);
    }
    if (atLeast(this.versionOf(list), '1.1.0')) {
      // Both names, the second is that of an earlier draft.
      const lists = { 'cni.dev/valid-attachments': valid, 'cni.dev/attachments': valid };
      for (const plugin of list.plugins) {
        await this.#call(plugin.type, 'GC', { ...this.#config(list, plugin), ...lists }).catch(keep);
      }
    }
    if (errors.length > 0) throw new AggregateError(errors, errors.map(String).join('; '));
  }

  async status(list: Conflist): Promise<void> {
    if (!atLeast(this.versionOf(list), '1.1.0')) return;
    for (const plugin of list.plugins) await this.#call(plugin.type, 'STATUS', this.#config(list, plugin));
  }

  cachedResult(list: Conflist, container: Container): Json | undefined {
    try {
      return (JSON.parse(readFileSync(this.#file(list, container), 'utf8')) as { result: Json }).result;
    } catch {
      return undefined;
    }
  }

  /** As when a node has lost its disk, or the runtime was killed before it could write. */
  forget(list: Conflist, container: Container): void {
    rmSync(this.#file(list, container), { force: true });
  }

  #cached(list: Conflist): Container[] {
    const all = readdirSync(this.#cache).map(
      (name) =>
        JSON.parse(readFileSync(join(this.#cache, name), 'utf8')) as { list: string; container: Container },
    );
    return all.filter(({ list: name }) => name === list.name).map(({ container }) => container);
  }

  #file(list: Conflist, { id, ifName = 'eth0' }: Container): string {
    return join(this.#cache, `${list.name}-${id}-${ifName}`);
  }

  #config(list: Conflist, plugin: Json, container?: Container, prevResult?: Json): Json {
    const capabilities = Object.entries((plugin['capabilities'] as Json | undefined) ?? {});
    const asked = container?.capabilityArgs ?? {};
    const wanted = capabilities.filter(([name, on]) => on === true && name in asked).map(([name]) => name);
    return {
      ...plugin,
      name: list.name,
      cniVersion: this.versionOf(list),
      ...(prevResult === undefined ? {} : { prevResult }),
      ...(wanted.length === 0
        ? {}
        : { runtimeConfig: Object.fromEntries(wanted.map((name) => [name, asked[name]])) }),
    };
  }

  async #call(plugin: string, command: string, config: Json, container?: Container): Promise<Json> {
    const folder = this.#path.find((each) => readdirSync(each).includes(plugin));
    if (folder === undefined) throw new Error(`no plugin ${plugin} in ${this.#path.join(':')}`);
    const about =
      container === undefined
        ? {}
        : {
            CNI_CONTAINERID: container.id,
            CNI_NETNS: container.netns,
            CNI_IFNAME: container.ifName ?? 'eth0',
            CNI_ARGS: container.args ?? '',
          };
    const env = {
      PATH: process.env['PATH'] ?? '',
      CNI_COMMAND: command,
      CNI_PATH: this.#path.join(':'),
      ...about,
    };
    const input = JSON.stringify(config);
    const { stdout, failed } = await run(join(folder, plugin), [], { input, env, netns: this.#netns }).then(
      (done) => ({ stdout: done.stdout, failed: false }),
      (error: Error & { stdout?: string }) => ({ stdout: error.stdout ?? error.message, failed: true }),
    );
    if (failed) throw new PluginError(plugin, command, stdout);
    return stdout.trim() === '' ? {} : (JSON.parse(stdout) as Json);
  }
}
