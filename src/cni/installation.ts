import { constants } from 'node:fs';
import { access, copyFile, chmod, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { FlatnetError } from '../errors/flatnet-error.ts';

export interface ConflistWish {
  /** Name of the network: the folder of reservations is called like it. */
  readonly networkName: string;
  readonly socketPath: string;
  readonly defaultSocketPath: string;
  /** Plugins behind this one, as they shall be written. */
  readonly chainedPlugins: readonly object[];
}

export const PLUGIN_NAME = 'flatnet';

/** What runtimes may ask of the plugin: the keys of `runtimeConfig` that it understands. */
const CAPABILITIES = ['portMappings', 'bandwidth', 'ips', 'mac', 'aliases'];

/**
 * The network configuration list that makes a container runtime call the plugin. `cniVersion` is what runtimes of
 * today read (containerd 1.6); newer ones take the highest of `cniVersions`, and with it STATUS and GC. Plugins of
 * others behind this one might not know that version.
 */
export function renderConflist({ networkName: name, chainedPlugins, ...wish }: ConflistWish): string {
  const socket = wish.socketPath === wish.defaultSocketPath ? {} : { socketPath: wish.socketPath };
  // What a plugin behind this one is there for is left to it.
  const theirs = new Set(chainedPlugins.flatMap(capabilitiesOf));
  const ours = CAPABILITIES.filter((capability) => !theirs.has(capability));
  const capabilities = Object.fromEntries(ours.map((capability) => [capability, true]));
  const own = { type: PLUGIN_NAME, ...socket, capabilities };
  const versions = chainedPlugins.length === 0 ? { cniVersions: ['0.3.1', '0.4.0', '1.0.0', '1.1.0'] } : {};
  const list = { cniVersion: '1.0.0', ...versions, name, plugins: [own, ...chainedPlugins] };
  return `${JSON.stringify(list, null, 2)}\n`;
}

function capabilitiesOf(plugin: object): string[] {
  const { capabilities } = plugin as { readonly capabilities?: unknown };
  if (typeof capabilities !== 'object' || capabilities === null) return [];
  return Object.entries(capabilities).flatMap(([name, enabled]) => (enabled === true ? [name] : []));
}

/** Puts the file in place in one step, so that nobody ever reads half of it. Unchanged content is left alone. */
export async function installFile(path: string, content: string, mode: number): Promise<boolean> {
  return install(path, async (temporary) => {
    if ((await readOrUndefined(path)) === content) return false;
    await writeFile(temporary, content, { mode });
    return true;
  });
}

/** As `installFile`, from another file; a plugin that is being executed meanwhile goes on undisturbed. */
export async function installExecutable(source: string, path: string): Promise<boolean> {
  return install(path, async (temporary) => {
    const [wanted, present] = await Promise.all([readFile(source), readFile(path).catch(() => undefined)]);
    if (present?.equals(wanted) === true) return false;
    await copyFile(source, temporary);
    await chmod(temporary, 0o755);
    return true;
  });
}

export async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK);
    return true;
  } catch {
    return false;
  }
}

async function install(path: string, write: (temporary: string) => Promise<boolean>): Promise<boolean> {
  const temporary = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 });
    const changed = await write(temporary);
    if (changed) await rename(temporary, path);
    return changed;
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new FlatnetError(
      `cannot install ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        code: 'INSTALL_FAILED',
        retryable: true,
        hint: 'the folder must be writable for the agent and the disk not full',
        cause,
      },
    );
  }
}

async function readOrUndefined(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
