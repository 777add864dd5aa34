import { FlatnetError } from '../../errors/flatnet-error.ts';

/** One plugin of a chain, with its fields as they stand in the file. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [field: string]: unknown;
}

/** A network configuration list (CNI specification, section 1). */
export interface NetworkConfig {
  readonly name: string;
  readonly cniVersion: string;
  readonly disableCheck: boolean;
  readonly plugins: readonly PluginConfig[];
}

/** Reads a `.conflist`, or a `.conf` that holds a single plugin. Throws CNI_CONFIG_INVALID naming file and field. */
export function parseNetworkConfig(file: string, text: string): NetworkConfig {
  const fail = (what: string): FlatnetError =>
    new FlatnetError(`CNI configuration ${file}: ${what}`, { code: 'CNI_CONFIG_INVALID' });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw fail(`is no JSON: ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null) throw fail('must hold an object');
  const config = value as Record<string, unknown>;
  const { name, cniVersion, disableCheck } = config;
  if (typeof name !== 'string' || !/^[A-Za-z0-9][\w.-]*$/.test(name))
    throw fail('field "name" is missing or invalid');
  const plugins = file.endsWith('.conflist') ? config['plugins'] : [config];
  if (!Array.isArray(plugins) || plugins.length === 0)
    throw fail('field "plugins" must list at least one plugin');
  for (const [index, plugin] of (plugins as Partial<PluginConfig>[]).entries()) {
    // The type becomes a path: no separator may be part of it (CVE-2021-20206).
    if (typeof plugin?.type !== 'string' || !/^[\w.-]+$/.test(plugin.type) || plugin.type.startsWith('.')) {
      throw fail(`field "plugins[${index}].type" is missing or invalid`);
    }
  }
  return {
    name,
    cniVersion: typeof cniVersion === 'string' ? cniVersion : '0.3.1',
    disableCheck: disableCheck === true,
    plugins: plugins as PluginConfig[],
  };
}

/** What one plugin of the chain gets on standard input. */
export function pluginInput(
  network: NetworkConfig,
  plugin: PluginConfig,
  runtimeConfig: Readonly<Record<string, unknown>>,
  prevResult: unknown,
): string {
  const { capabilities, ...fields } = plugin;
  const wanted = Object.entries(runtimeConfig).filter(([name]) => capabilities?.[name] === true);
  return JSON.stringify({
    ...fields,
    name: network.name,
    cniVersion: network.cniVersion,
    ...(wanted.length === 0 ? {} : { runtimeConfig: Object.fromEntries(wanted) }),
    ...(prevResult === undefined ? {} : { prevResult }),
  });
}

/** Addresses of a result, without prefix: `ips[].address` in all versions from 0.3.0 on. */
export function resultAddresses(result: unknown): string[] {
  const ips = (result as { ips?: { address?: string }[] } | undefined)?.ips ?? [];
  return ips.flatMap(({ address }) => (address === undefined ? [] : [address.split('/')[0] ?? '']));
}
