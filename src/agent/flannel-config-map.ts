import type { ConfigMap } from 'kubernetes-types/core/v1.js';
import { parseAllDocuments } from 'yaml';
import { describeError } from '../errors/flatnet-error.ts';
import { invalidConfig } from '../proxy/config/read-yaml.ts';
import { readNetConf, type NetConf } from './net-conf.ts';

/** The ConfigMap that flannel's manifest brings: `net-conf.json` for flanneld, `cni-conf.json` for the runtime. */
export const FLANNEL_CONFIG_MAP = 'kube-flannel-cfg';

/** What became of a network configuration. */
export interface CheckedConfig {
  /** Where it stood: `kube-flannel.yml: ConfigMap kube-flannel/kube-flannel-cfg: net-conf.json`. */
  readonly name: string;
  readonly netConf?: NetConf;
  readonly problems: readonly string[];
}

/**
 * Checks everything of flannel's configuration that a text holds: net-conf.json itself, a ConfigMap, or a manifest of
 * several documents with ConfigMaps among them. Throws INVALID_CONFIG where there is none in it.
 */
export function checkFlannelConfig(text: string, name: string): CheckedConfig[] {
  if (text.trimStart().startsWith('{') && !/"kind"\s*:/.test(text)) return [checkNetConf(text, name)];
  const documents = parseAllDocuments(text, { version: '1.1' });
  if (!Array.isArray(documents)) throw invalidConfig(name, ['is empty']);
  const checked = documents.flatMap((document) => {
    const syntax = document.errors[0];
    if (syntax !== undefined)
      throw invalidConfig(name, [(syntax.message.split('\n')[0] ?? '').replace(/:$/, '')]);
    const value: unknown = document.toJS();
    return itemsOf(value)
      .filter(isConfigMap)
      .flatMap((map) => checkConfigMap(map, name));
  });
  if (checked.length > 0) return checked;
  throw invalidConfig(
    name,
    ['holds no network configuration of flannel'],
    'give a net-conf.json, or a manifest with a ConfigMap that has the key net-conf.json',
  );
}

/** The two keys of one ConfigMap; nothing for one that has neither. */
export function checkConfigMap(map: ConfigMap, name: string): CheckedConfig[] {
  const { namespace = 'default', name: own = '' } = map.metadata ?? {};
  const where = `${name}: ConfigMap ${namespace}/${own}`;
  const netConf = map.data?.['net-conf.json'];
  const cniConf = map.data?.['cni-conf.json'];
  return [
    ...(netConf === undefined ? [] : [checkNetConf(netConf, `${where}: net-conf.json`)]),
    ...(cniConf === undefined ? [] : [checkCniConf(cniConf, `${where}: cni-conf.json`)]),
  ];
}

function checkNetConf(text: string, name: string): CheckedConfig {
  try {
    return { name, netConf: readNetConf(text, name), problems: [] };
  } catch (error) {
    return { name, problems: [describeError(error)] };
  }
}

/** Only its outline: every plugin checks its own part when it is called. */
function checkCniConf(text: string, name: string): CheckedConfig {
  const problem = (what: string): CheckedConfig => ({ name, problems: [`${name}: ${what}`] });
  let list: { name?: unknown; plugins?: unknown } | null;
  try {
    list = JSON.parse(text) as typeof list;
  } catch (error) {
    return problem(`is not JSON: ${(error as Error).message}`);
  }
  if (typeof list?.name !== 'string' || list.name === '') return problem('name: is missing');
  if (!Array.isArray(list.plugins) || list.plugins.length === 0)
    return problem('plugins: must be a list of plugins');
  const nameless = list.plugins.findIndex(
    (plugin: { type?: unknown } | null) => typeof plugin?.type !== 'string',
  );
  return nameless === -1 ? { name, problems: [] } : problem(`plugins[${nameless}].type: is missing`);
}

function itemsOf(value: unknown): unknown[] {
  const items = (value as { items?: unknown } | null)?.items;
  return Array.isArray(items) ? (items as unknown[]) : [value];
}

const isConfigMap = (value: unknown): value is ConfigMap =>
  (value as { kind?: unknown } | null)?.kind === 'ConfigMap';
