import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { CommandError, run } from '../../kernel/exec/run.ts';
import type { LabNode } from '../node/lab-node.ts';
import { tool } from '../node/tool.ts';
import {
  parseNetworkConfig,
  pluginInput,
  resultAddresses,
  type NetworkConfig,
  type PluginConfig,
} from './cni-config.ts';

const CONFIG_FOLDER = '/etc/cni/net.d';
const PLUGIN_FOLDER = '/opt/cni/bin';
/** Where libcni keeps results, for DEL after a restart of the runtime. */
const RESULT_FOLDER = '/var/lib/cni/results';
const INTERFACE = 'eth0';
const PLUGIN_TIMEOUT_MS = 60_000;

export interface Attachment {
  readonly sandboxId: string;
  /** Inside of the node. */
  readonly netnsPath: string;
  readonly namespace: string;
  readonly pod: string;
  readonly uid: string;
  /** `portMappings` and others, given to plugins that ask for them. */
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
}

interface CachedResult {
  readonly config: NetworkConfig;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  readonly result: unknown;
}

/** Runs the plugins of a node as libcni does: chain from /etc/cni/net.d, binaries from /opt/cni/bin. */
export class CniRuntime {
  readonly #node: LabNode;

  constructor(node: LabNode) {
    this.#node = node;
  }

  /** The first configuration by file name; undefined while there is none. Throws CNI_CONFIG_INVALID. */
  config(): NetworkConfig | undefined {
    const folder = this.#node.path(CONFIG_FOLDER);
    const file = listFolder(folder)
      .filter((name) => /\.(conflist|conf|json)$/.test(name))
      .sort()[0];
    return file === undefined
      ? undefined
      : parseNetworkConfig(join(CONFIG_FOLDER, file), readFileSync(join(folder, file), 'utf8'));
  }

  /** Attaches a sandbox; returns the pod's addresses. Throws CNI_NOT_READY, CNI_FAILED with the plugin's words. */
  async add(attachment: Attachment, signal: AbortSignal): Promise<string[]> {
    const config = this.config();
    if (config === undefined) {
      throw new FlatnetError('cni plugin not initialized', {
        code: 'CNI_NOT_READY',
        hint: `no configuration in ${CONFIG_FOLDER}; is the network's agent running?`,
        retryable: true,
      });
    }
    let result: unknown;
    for (const plugin of config.plugins) {
      const input = pluginInput(config, plugin, attachment.capabilityArgs, result);
      result = parseResult(plugin, await this.#execute('ADD', plugin, input, attachment, signal));
    }
    this.#remember(attachment, config, result);
    const addresses = resultAddresses(result);
    if (addresses.length > 0) return addresses;
    throw new FlatnetError(`CNI network ${config.name} gave the pod no address`, { code: 'CNI_FAILED' });
  }

  /** Detaches, in the opposite order; a sandbox that was never attached is fine. */
  async del(attachment: Attachment): Promise<void> {
    const cached = this.#recall(attachment);
    const config = cached?.config ?? this.config();
    if (config === undefined) return;
    const capabilityArgs = cached?.capabilityArgs ?? attachment.capabilityArgs;
    for (const plugin of config.plugins.toReversed()) {
      const input = pluginInput(config, plugin, capabilityArgs, cached?.result);
      await this.#execute('DEL', plugin, input, attachment);
    }
    rmSync(this.#resultFile(config.name, attachment), { force: true });
  }

  async #execute(
    command: 'ADD' | 'DEL',
    plugin: PluginConfig,
    input: string,
    attachment: Attachment,
    signal?: AbortSignal,
  ): Promise<string> {
    const { sandboxId, namespace, pod, uid } = attachment;
    const env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      CNI_COMMAND: command,
      CNI_CONTAINERID: sandboxId,
      CNI_NETNS: attachment.netnsPath,
      CNI_IFNAME: INTERFACE,
      CNI_PATH: PLUGIN_FOLDER,
      CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${pod};K8S_POD_INFRA_CONTAINER_ID=${sandboxId};K8S_POD_UID=${uid}`,
    };
    try {
      const { stdout } = await run(
        tool('nsenter'),
        [...this.#node.enterArguments, '--', join(PLUGIN_FOLDER, plugin.type)],
        { input, env, timeoutMs: PLUGIN_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) },
      );
      return stdout;
    } catch (cause) {
      throw new FlatnetError(
        `plugin type="${plugin.type}" failed (${command.toLowerCase()}): ${wordsOf(cause)}`,
        {
          code: 'CNI_FAILED',
          retryable: true,
          cause,
        },
      );
    }
  }

  #resultFile(network: string, attachment: Attachment): string {
    return this.#node.path(`${RESULT_FOLDER}/${network}-${attachment.sandboxId}-${INTERFACE}`);
  }

  #remember(attachment: Attachment, config: NetworkConfig, result: unknown): void {
    mkdirSync(this.#node.path(RESULT_FOLDER), { recursive: true, mode: 0o700 });
    const entry = {
      kind: 'cniCacheV1',
      containerId: attachment.sandboxId,
      config: Buffer.from(JSON.stringify(config)).toString('base64'),
      ifName: INTERFACE,
      networkName: config.name,
      netns: attachment.netnsPath,
      capabilityArgs: attachment.capabilityArgs,
      result,
    };
    writeFileSync(this.#resultFile(config.name, attachment), JSON.stringify(entry), { mode: 0o600 });
  }

  #recall(attachment: Attachment): CachedResult | undefined {
    const suffix = `-${attachment.sandboxId}-${INTERFACE}`;
    const folder = this.#node.path(RESULT_FOLDER);
    const file = listFolder(folder).find((name) => name.endsWith(suffix));
    if (file === undefined) return undefined;
    try {
      const entry = JSON.parse(readFileSync(join(folder, file), 'utf8')) as {
        config: string;
        capabilityArgs: CachedResult['capabilityArgs'];
        result: unknown;
      };
      const config = JSON.parse(Buffer.from(entry.config, 'base64').toString()) as NetworkConfig;
      return { config, capabilityArgs: entry.capabilityArgs, result: entry.result };
    } catch {
      // A file cut short by a crash tells nothing; the configuration of today has to do.
      return undefined;
    }
  }
}

function parseResult(plugin: PluginConfig, stdout: string): unknown {
  try {
    return JSON.parse(stdout);
  } catch (cause) {
    throw new FlatnetError(`plugin type="${plugin.type}" answered no JSON: ${stdout.slice(0, 200)}`, {
      code: 'CNI_FAILED',
      cause,
    });
  }
}

/** A plugin tells what went wrong as JSON on standard output (CNI specification, section 5, "Error"). */
function wordsOf(error: unknown): string {
  if (!(error instanceof CommandError)) return String(error);
  try {
    const { msg, details } = JSON.parse(error.stdout) as { msg?: string; details?: string };
    if (msg !== undefined) return details === undefined || details === '' ? msg : `${msg}: ${details}`;
  } catch {
    // No JSON: what it wrote to standard error has to do.
  }
  return error.stderr.trim() || error.message;
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
