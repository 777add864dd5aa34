import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { checkConfigMap, checkFlannelConfig, FLANNEL_CONFIG_MAP } from '../agent/flannel-config-map.ts';
import type { CheckedConfig } from '../agent/flannel-config-map.ts';
import { ApiClient } from '../cluster/api-client.ts';
import { hasStatus } from '../cluster/api-error.ts';
import { inClusterAccess } from '../cluster/in-cluster.ts';
import { loadKubeconfig } from '../cluster/kubeconfig.ts';
import { CONFIG_MAPS } from '../cluster/resource-type.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';

interface CheckFlags {
  readonly filename?: string[];
  readonly kubeconfig?: string;
  readonly namespace?: string;
  readonly configMap: string;
}

/** Where flannel's manifest has put its ConfigMap, today and formerly. */
const NAMESPACES = ['kube-flannel', 'kube-system'];

/** `flatnet podnet check`: reads a network configuration as the agent would. */
export function checkCommand(): Command {
  return new Command('check')
    .summary("check a network configuration: a net-conf.json, flannel's manifest, or what is in the cluster")
    .description(
      "Checks flannel's network configuration as the agent reads it: a net-conf.json, a manifest with the ConfigMap " +
        'kube-flannel-cfg, or, without -f, that ConfigMap as it is in the cluster. Ends with 1 when something is wrong.',
    )
    .option('-f, --filename <file>', 'net-conf.json or manifest; - for standard input; repeatable', collect)
    .option('--kubeconfig <file>', 'how to reach the API server; the service account of the pod otherwise')
    .option('-n, --namespace <name>', `where the ConfigMap is (default: ${NAMESPACES.join(', then ')})`)
    .option('--config-map <name>', 'name of the ConfigMap', FLANNEL_CONFIG_MAP)
    .action(async (flags: CheckFlags) => run(flags));
}

async function run(flags: CheckFlags): Promise<void> {
  const checked =
    flags.filename === undefined
      ? await checkCluster(flags)
      : (
          await Promise.all(flags.filename.map(async (file) => checkFlannelConfig(await read(file), file)))
        ).flat();
  for (const each of checked) process.stdout.write(`${report(each)}\n`);
  if (checked.some(({ problems }) => problems.length > 0)) process.exitCode = 1;
}

async function checkCluster(flags: CheckFlags): Promise<CheckedConfig[]> {
  const access =
    flags.kubeconfig === undefined ? await inClusterAccess() : await loadKubeconfig(flags.kubeconfig);
  const client = new ApiClient(access, 'flatnet-podnet');
  const namespaces = flags.namespace === undefined ? NAMESPACES : [flags.namespace];
  try {
    for (const namespace of namespaces) {
      const map = await client
        .get(CONFIG_MAPS, { namespace, name: flags.configMap })
        .catch((error: unknown) => {
          if (hasStatus(error, 404)) return undefined;
          throw error;
        });
      const checked = map === undefined ? [] : checkConfigMap(map, access.server);
      if (checked.length > 0) return checked;
    }
  } finally {
    await client.close();
  }
  throw new FlatnetError(`there is no ConfigMap ${flags.configMap} in ${namespaces.join(' or ')}`, {
    code: 'CONFIG_MAP_MISSING',
    hint: 'name its namespace with -n, or give a file with -f',
  });
}

async function read(file: string): Promise<string> {
  try {
    return await readFile(file === '-' ? '/dev/stdin' : file, 'utf8');
  } catch (cause) {
    throw new FlatnetError(`cannot read ${file}: ${(cause as Error).message}`, {
      code: 'FILE_UNREADABLE',
      cause,
    });
  }
}

function report({ name, netConf, problems }: CheckedConfig): string {
  if (problems.length > 0) return problems.map((problem) => `error: ${problem}`).join('\n');
  const warnings = (netConf?.warnings ?? []).map((warning) => `warning: ${warning}`);
  return [`ok: ${name}${netConf === undefined ? '' : `: ${describe(netConf.network)}`}`, ...warnings].join(
    '\n',
  );
}

const describe = ({ networks, backend }: NetworkConfig): string =>
  `${[...networks.values()].map(String).join(' and ')} by ${backend.type}`;

const collect = (value: string, before: string[] = []): string[] => [...before, value];
