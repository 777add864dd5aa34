import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import { loadConfig } from '../agent/config.ts';
import { readNetConf } from '../agent/net-conf.ts';
import { planChange, type ChangePlan, type PairVerdict } from '../agent/plan-change.ts';
import { ApiClient } from '../cluster/api-client.ts';
import { inClusterAccess } from '../cluster/in-cluster.ts';
import { loadKubeconfig } from '../cluster/kubeconfig.ts';
import { NODES } from '../cluster/resource-type.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';
import { table } from './podnet-status.ts';

interface PlanFlags {
  readonly kubeconfig?: string;
  readonly kubeAnnotationPrefix: string;
  readonly all: boolean;
}

/** More pairs than a person reads are summed up. */
const SHOWN_PAIRS = 100;

/** `flatnet podnet plan-change`: what would become of every pair of nodes. */
export function planChangeCommand(): Command {
  return new Command('plan-change')
    .summary('show what another backend would do to every pair of nodes, before it is configured')
    .description(
      'Compares a new network configuration with the nodes as they are, and prints how each node would change and ' +
        'whether each pair of nodes goes on reaching each other. Changes nothing. Ends with 1 when a pair would be lost.',
    )
    .argument('<file>', 'the new net-conf.json, or an AgentConfiguration with a section network')
    .option('--kubeconfig <file>', 'how to reach the API server; the service account of the pod otherwise')
    .option('--kube-annotation-prefix <prefix>', 'prefix of the annotations', 'flannel.alpha.coreos.com')
    .option('--all', `print every pair, also where there are more than ${SHOWN_PAIRS}`, false)
    .action(async (file: string, flags: PlanFlags) => run(file, flags));
}

async function run(file: string, flags: PlanFlags): Promise<void> {
  const network = await readNetwork(file);
  const access =
    flags.kubeconfig === undefined ? await inClusterAccess() : await loadKubeconfig(flags.kubeconfig);
  const client = new ApiClient(access, 'flatnet-podnet');
  try {
    const { items } = await client.list(NODES);
    const plan = planChange(items, network, flags.kubeAnnotationPrefix);
    process.stdout.write(`${render(plan, flags.all)}\n`);
    if (plan.pairs.some(({ lost }) => lost !== undefined)) process.exitCode = 1;
  } finally {
    await client.close();
  }
}

async function readNetwork(file: string): Promise<NetworkConfig> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new FlatnetError(`cannot read ${file}: ${(cause as Error).message}`, {
      code: 'FILE_UNREADABLE',
      cause,
    });
  });
  if (text.trimStart().startsWith('{') && !text.includes('"apiVersion"'))
    return readNetConf(text, file).network;
  const { network } = (await loadConfig(file)).config;
  if (network !== undefined) return network;
  throw new FlatnetError(`${file}: the network is not in this file`, { code: 'INVALID_CONFIG' });
}

function render({ nodes, pairs, problems }: ChangePlan, all: boolean): string {
  const lost = pairs.filter((pair) => pair.lost !== undefined);
  const shown = all || pairs.length <= SHOWN_PAIRS ? pairs : lost;
  return [
    ...problems.map((problem) => `problem: ${problem}`),
    ...table([['NODE', 'CHANGE'], ...nodes.map(({ node, change }) => [node, change])]),
    '',
    ...table([['FROM', 'TO', 'VERDICT'], ...shown.map(verdict)]),
    '',
    lost.length === 0
      ? `all ${pairs.length} ways between ${nodes.length} nodes stay`
      : `${lost.length} of ${pairs.length} ways between ${nodes.length} nodes would be lost`,
  ].join('\n');
}

const verdict = ({ from, to, lost: why }: PairVerdict): string[] => [
  from,
  to,
  why === undefined ? 'stays' : `LOST: ${why}`,
];
