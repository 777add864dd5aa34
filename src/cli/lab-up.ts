import { performance } from 'node:perf_hooks';
import { Command, InvalidArgumentError, Option } from 'commander';
import { pluginCandidates } from '../agent/agent.ts';
import { describeError } from '../errors/flatnet-error.ts';
import { findAssets } from '../lab/daemon/kubebuilder-assets.ts';
import { withLabLock } from '../lab/lifecycle/lab-lock.ts';
import { checkRequirements } from '../lab/lifecycle/requirements.ts';
import { runDaemon } from '../lab/lifecycle/run-daemon.ts';
import { bringUp } from '../lab/lifecycle/up.ts';
import { findProgram } from '../kernel/exec/find-program.ts';
import { labFolder } from '../lab/state/lab-folder.ts';
import {
  checkLabOptions,
  DEFAULT_LAB_OPTIONS,
  LAB_BACKENDS,
  type LabOptions,
} from '../lab/state/lab-options.ts';
import type { LabRecord } from '../lab/state/lab-record.ts';
import { nameOption, ownCommandLine } from './lab-name-option.ts';
import { Progress } from './progress.ts';

type UpFlags = LabOptions & { readonly wait: number | false; readonly hints: boolean };

const DEFAULT_WAIT_SECONDS = 180;
const D = DEFAULT_LAB_OPTIONS;

export function upCommand(): Command {
  return new Command('up')
    .summary('bring a cluster up, or find it up')
    .description(
      'Brings a cluster up and waits until its nodes are Ready. Run again, it finds everything in place.',
    )
    .addOption(nameOption())
    .option('--nodes <n>', 'number of nodes', whole, D.nodes)
    .option('--subnets <n>', 'subnets of the underlay, with a router between them', whole, D.subnets)
    .option('--mtu <bytes>', "MTU of the underlay's links", whole, D.mtu)
    .option('--ipv6', 'IPv6 beside IPv4, for nodes, pods and Services')
    .addOption(
      new Option('--backend <type>', 'how pods of different nodes reach each other')
        .choices(Object.keys(LAB_BACKENDS))
        .default(D.backend),
    )
    .addOption(
      new Option(
        '--control-plane <kind>',
        'embedded, or real: kube-apiserver and etcd from $KUBEBUILDER_ASSETS',
      )
        .choices(['embedded', 'real'])
        .default(D.controlPlane),
    )
    .option('--pod-cidr <cidr>', 'addresses of pods; each node gets a /24 of it', D.podCidr)
    .option('--service-cidr <cidr>', 'addresses of Services; the tenth is cluster DNS', D.serviceCidr)
    .option('--pod-cidr-v6 <cidr>', 'with --ipv6; each node gets a /64 of it', D.podCidrV6)
    .option('--service-cidr-v6 <cidr>', 'with --ipv6', D.serviceCidrV6)
    .option(
      '--api-port <port>',
      'of the API server on 127.0.0.1 (default: the first free one from 6443 on)',
      whole,
    )
    .option('--wait <seconds>', 'how long to wait for the nodes to be Ready', whole, DEFAULT_WAIT_SECONDS)
    .option('--no-wait', 'return as soon as the lab is being started')
    .addOption(new Option('--no-hints', 'no list of commands to try').hideHelp())
    .addHelpText(
      'after',
      `
Examples:
  flatnet lab up                                     three nodes on one subnet, VXLAN between their pods
  flatnet lab up --nodes 5 --subnets 2               two subnets with a router between them
  flatnet lab up --backend host-gw --mtu 9000        routes instead of tunnels, jumbo frames
  flatnet lab up --backend wireguard                 everything between nodes encrypted
  flatnet lab up --name six --ipv6                   a second lab beside the first, dual-stack
  KUBEBUILDER_ASSETS=~/envtest flatnet lab up --control-plane real`,
    )
    .action(async (_flags: UpFlags, command: Command) => up(command));
}

/** Not for people: what \`lab up\` leaves running. */
export function daemonCommand(): Command {
  return new Command('daemon')
    .description('Runs a lab until SIGTERM; started by: flatnet lab up')
    .addOption(nameOption())
    .action(async ({ name }: { name: string }) => runDaemon(name, ownCommandLine()));
}

async function up(command: Command): Promise<void> {
  const { wait, hints, ...flags } = command.opts<UpFlags>();
  const lab = usable(command, { ...D, ...flags });
  const keys = Object.keys(D) as (keyof LabOptions)[];
  const given = new Set(keys.filter((key) => key !== 'name' && command.getOptionValueSource(key) === 'cli'));
  if (lab.controlPlane === 'real') findAssets(process.env['KUBEBUILDER_ASSETS']);
  const flatnet = ownCommandLine();
  await checkRequirements(pluginCandidates(process.argv[1] ?? ''));
  const progress = new Progress();
  const started = performance.now();
  process.once('SIGINT', () => {
    progress.end();
    const named = lab.name === D.name ? '' : ` --name ${lab.name}`;
    process.stderr.write(`interrupted; what has been started is removed by: flatnet lab down${named}\n`);
    process.exit(130);
  });
  try {
    const record = await withLabLock(lab.name, async () =>
      bringUp({
        lab,
        given,
        flatnet,
        onProgress: (text) => progress.step(text),
        waitMs: wait === false ? 0 : wait * 1000,
      }),
    );
    progress.end();
    tell(record, (performance.now() - started) / 1000);
    if (hints) suggest(record.options.name);
  } finally {
    progress.end();
  }
}

function usable(command: Command, options: LabOptions): LabOptions {
  try {
    return checkLabOptions(options);
  } catch (error) {
    return command.error(`error: ${describeError(error)}`);
  }
}

function tell(record: LabRecord, seconds: number): void {
  const { name, nodes, backend, subnets } = record.options;
  const old = Date.parse(record.startedAt) < Date.now() - seconds * 1000 - 1;
  const state = record.phase === 'running' ? `is up${old ? ' already' : ''}` : 'is being started';
  const took = old ? '' : `, ${seconds.toFixed(1)} s`;
  process.stderr.write(`lab "${name}" ${state}: ${nodes} ${nodes === 1 ? 'node' : 'nodes'}${took}\n`);
  if (backend === 'host-gw' && subnets > 1) {
    process.stderr.write(
      'warning: host-gw has no way from one subnet to another: pods there do not reach each other (vxlan has one)\n',
    );
  }
}

function suggest(name: string): void {
  const named = name === D.name ? '' : ` --name ${name}`;
  const installed = findProgram('flatnet') !== undefined;
  process.stderr.write(
    'Try:\n\n' +
      (installed ? '' : `  alias flatnet="node ${process.argv[1] ?? ''}"\n`) +
      `  export KUBECONFIG=${labFolder(name).kubeconfig}\n` +
      '  kubectl get nodes -o wide\n' +
      `  flatnet lab status${named}\n` +
      `  flatnet lab exec${named} node-1 -- ip route\n` +
      `  flatnet lab down${named}\n`,
  );
}

function whole(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number is needed.');
}
