import { existsSync } from 'node:fs';
import { hostname } from 'node:os';
import { Command } from 'commander';
import { pluginCandidates, runAgent } from '../agent/agent.ts';
import { loadConfig } from '../agent/config.ts';
import { inClusterAccess } from '../cluster/in-cluster.ts';
import { loadKubeconfig } from '../cluster/kubeconfig.ts';
import { createLogger } from '../log/logger.ts';

interface AgentFlags {
  readonly kubeconfig?: string;
  readonly nodeName: string;
  readonly config: string;
}

export function command(): Command {
  return new Command('agent')
    .summary('run the agent of a node: pod network, CNI, service proxy')
    .description(
      'Runs the network of one node: pod network (vxlan, host-gw), addresses and CNI plugin, service proxy, masquerade. ' +
        'Ends on SIGTERM or SIGINT and leaves everything in the kernel: traffic goes on, and the next start adopts it.',
    )
    .option(
      '--kubeconfig <file>',
      'how to reach the API server; without it the service account of the pod is used',
    )
    .option(
      '--node-name <name>',
      'name of this Node object',
      process.env['NODE_NAME'] ?? hostname().toLowerCase(),
    )
    .requiredOption('--config <file>', 'AgentConfiguration (flatnet.dev/v1alpha1), YAML')
    .addHelpText(
      'after',
      '\nExample:\n  flatnet agent --kubeconfig /etc/kubernetes/kubelet.conf --config /etc/flatnet/agent.yaml\n\n' +
        'The node name is taken from the environment variable NODE_NAME, else it is the host name.',
    )
    .action(run);
}

async function run(flags: AgentFlags): Promise<void> {
  const config = await loadConfig(flags.config);
  const logger = createLogger('agent', config.logLevel);
  const access =
    flags.kubeconfig === undefined ? await inClusterAccess() : await loadKubeconfig(flags.kubeconfig);
  const pluginSource = pluginCandidates(process.argv[1] ?? '').find((path) => existsSync(path));
  const stop = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => stop.abort());
  logger.info(
    { node: flags.nodeName, server: access.server, backend: config.network.backend.type },
    'agent starting',
  );
  await runAgent(
    { config, configPath: flags.config, access, nodeName: flags.nodeName, logger, pluginSource },
    stop.signal,
  );
  logger.info({ node: flags.nodeName }, 'agent stopped; what it programmed stays in the kernel');
}
