import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { Command } from 'commander';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { netnsPath } from '../kernel/netns/netns.ts';
import { INSTALLED_BIN } from '../lab/node/installation.ts';
import { tool } from '../lab/node/tool.ts';
import { nodeNetns, OUTSIDE } from '../lab/state/lab-name.ts';
import type { LabRecord } from '../lab/state/lab-record.ts';
import { nameOption, runningLab } from './lab-name-option.ts';

export function execCommand(): Command {
  return new Command('exec')
    .summary('run a command on a node, or outside of the cluster')
    .description(
      'Runs a command in the namespaces of a node, or of the client outside of the cluster ("outside"). Standard input ' +
        "and output are passed through, and so is the command's exit code.",
    )
    .addOption(nameOption())
    .argument('<node>', 'node-1, node-2, … or outside')
    .argument('<command...>', 'what to run; -- before it when it has options of its own')
    .addHelpText(
      'after',
      `
Examples:
  flatnet lab exec node-1 -- ip -d link show flannel.1
  flatnet lab exec node-1 -- flatnet podnet status
  flatnet lab exec node-2 -- nft list tables
  flatnet lab exec node-1 -- tcpdump -ni eth0 udp port 8472
  flatnet lab exec outside -- curl -s http://172.30.0.10:30080/`,
    )
    .action(exec);
}

async function exec(node: string, command: string[], flags: { readonly name: string }): Promise<void> {
  const record = runningLab(flags.name);
  const child = spawn(tool('nsenter'), [...enterArguments(record, node), '--', ...command], {
    stdio: 'inherit',
    env: environment(),
  });
  // Ctrl-C is for the command; this one ends with it.
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) process.on(signal, () => undefined);
  process.once('SIGTERM', () => child.kill('SIGTERM'));
  process.exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
}

/** `flatnet` is found on a node. A proxy of the machine's network is not: curl would ask it for a node. */
function environment(): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(([name]) => !/_proxy$/i.test(name));
  return { ...Object.fromEntries(kept), PATH: `${process.env['PATH'] ?? '/usr/bin:/bin'}:${INSTALLED_BIN}` };
}

function enterArguments(record: LabRecord, node: string): string[] {
  const { name } = record.options;
  if (node === OUTSIDE) return [`--net=${netnsPath(nodeNetns(name, OUTSIDE))}`];
  const init = record.nodes.find((candidate) => candidate.name === node)?.init;
  if (init === undefined) {
    throw new FlatnetError(`lab "${name}" has no node "${node}"`, {
      code: 'NODE_NOT_FOUND',
      hint: `there are: ${[...record.nodes.map((candidate) => candidate.name), OUTSIDE].join(', ')}`,
    });
  }
  return ['--target', String(init.pid), '--net', '--mount', '--uts', '--ipc', '--pid'];
}
