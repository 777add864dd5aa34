import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import type { Command } from 'commander';
import { pluginCandidates, runAgent } from '../agent/agent.ts';
import { loadConfig } from '../agent/config.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { inClusterAccess } from '../cluster/in-cluster.ts';
import { loadKubeconfig } from '../cluster/kubeconfig.ts';
import { createLogger } from '../log/logger.ts';
import { commandWithFlanneldFlags, overridesOf, type FlanneldFlags } from './flanneld-flags.ts';

interface AgentFlags extends FlanneldFlags {
  readonly kubeconfig?: string;
  readonly kubeconfigFile?: string;
  readonly kubeApiUrl?: string;
  readonly nodeName: string;
  readonly config?: string;
}

export function command(): Command {
  return commandWithFlanneldFlags('agent')
    .summary('run the agent of a node: pod network, CNI, service proxy')
    .description(
      'Runs the network of one node: pod network, addresses and CNI plugin, service proxy, masquerade. ' +
        'Ends on SIGTERM or SIGINT and leaves everything in the kernel: traffic goes on, and the next start adopts it. ' +
        "Most flags are flanneld's; without --config they are all there is, and the agent does flanneld's work: " +
        'no service proxy, no masquerade without --ip-masq.',
    )
    .option('--config <file>', 'AgentConfiguration (flatnet.dev/v1alpha1), YAML')
    .option(
      '--kubeconfig <file>',
      'how to reach the API server; without it the service account of the pod is used',
    )
    .option('--kubeconfig-file <file>', 'as --kubeconfig')
    .option('--kube-api-url <url>', 'address of the API server, in place of the one in the kubeconfig')
    .option(
      '--node-name <name>',
      'name of this Node object',
      process.env['NODE_NAME'] ?? hostname().toLowerCase(),
    )
    .addHelpText(
      'after',
      '\nExamples:\n  flatnet agent --kubeconfig /etc/kubernetes/kubelet.conf --config /etc/flatnet/agent.yaml\n' +
        '  flatnet agent --kube-subnet-mgr --ip-masq --net-config-path /etc/kube-flannel/net-conf.json\n' +
        '  flatnet agent --etcd-endpoints https://10.0.0.1:2379 --iface eth1 --ip-masq\n\n' +
        'The node name is taken from the environment variable NODE_NAME, else it is the host name.',
    )
    .action(run);
}

async function run(flags: AgentFlags): Promise<void> {
  const overrides = overridesOf(flags, flags.config === undefined);
  const { config, warnings } = await loadConfig(flags.config, overrides);
  const logger = createLogger('agent', config.logLevel);
  for (const warning of warnings) logger.warn(warning);
  const access = await accessOf(flags, config.store.etcd !== undefined);
  const pluginSource = pluginCandidates(process.argv[1] ?? '').find((path) => existsSync(path));
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  logger.info(
    { node: flags.nodeName, server: access?.server, backend: config.network?.backend.type },
    'agent starting',
  );
  const { nodeName, config: configPath } = flags;
  await runAgent({ config, configPath, overrides, access, nodeName, logger, pluginSource }, stop.signal);
  logger.info({ node: flags.nodeName }, 'agent stopped; what it programmed stays in the kernel');
}

/** With etcd, nodes need no Kubernetes API; where one is named all the same, Services are served. */
async function accessOf(flags: AgentFlags, usesEtcd: boolean): Promise<ClusterAccess | undefined> {
  const kubeconfig = flags.kubeconfig ?? flags.kubeconfigFile;
  const isPod = process.env['KUBERNETES_SERVICE_HOST'] !== undefined;
  if (usesEtcd && kubeconfig === undefined && !isPod) return undefined;
  const access = kubeconfig === undefined ? await inClusterAccess() : await loadKubeconfig(kubeconfig);
  return flags.kubeApiUrl === undefined ? access : { ...access, server: flags.kubeApiUrl };
}
