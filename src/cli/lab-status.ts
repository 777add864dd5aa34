import { Command, Option } from 'commander';
import { labStatus, type LabStatus } from '../lab/lifecycle/status.ts';
import { listLabs } from '../lab/state/lab-folder.ts';
import { labNotFound, nameOption } from './lab-name-option.ts';

interface StatusFlags {
  readonly name: string;
  readonly all?: boolean;
  readonly output?: 'json';
}

export function statusCommand(): Command {
  return new Command('status')
    .summary('what there is of a lab')
    .description('Shows a lab: its nodes, their agents and its pods. Exit code 1 where it does not run.')
    .addOption(nameOption())
    .option('--all', 'all labs of this machine')
    .addOption(new Option('-o, --output <format>', 'json: everything, for programs').choices(['json']))
    .addHelpText(
      'after',
      "\nExamples:\n  flatnet lab status\n  flatnet lab status -o json | jq '.nodes[].agent.pid'",
    )
    .action(status);
}

async function status(flags: StatusFlags): Promise<void> {
  const names = flags.all === true ? listLabs() : [flags.name];
  const all: LabStatus[] = [];
  for (const name of names) {
    const one = await labStatus(name);
    if (one !== undefined) all.push(one);
    else throw labNotFound(name);
  }
  if (flags.output === 'json') {
    process.stdout.write(`${JSON.stringify(flags.all === true ? all : all[0], undefined, 2)}\n`);
  } else {
    if (all.length === 0) process.stderr.write('there are no labs\n');
    process.stdout.write(all.map(render).join('\n'));
  }
  if (all.some(({ state }) => state === 'crashed')) process.exitCode = 1;
}

function render(status: LabStatus): string {
  const lines = [`lab "${status.name}": ${status.state}`];
  if (status.state === 'crashed') {
    lines.push(
      `  flatnet lab logs --name ${status.name} daemon   what it said last`,
      `  flatnet lab up --name ${status.name}            starts it anew and empty`,
      `  flatnet lab down --name ${status.name}          clears it away`,
    );
    return `${lines.join('\n')}\n`;
  }
  lines.push(
    `kubeconfig  ${status.kubeconfig}`,
    `API server  ${status.server ?? ''}`,
    `backend     ${status.options?.backend ?? ''}`,
  );
  if (status.pods !== undefined)
    lines.push(`pods        ${status.pods.running} of ${status.pods.total} running`);
  if (status.problem !== undefined) lines.push(`problem     ${status.problem}`);
  const rows = [
    ['NODE', 'STATUS', 'ADDRESSES', 'POD-CIDR', 'PID', 'AGENT-PID', 'AGENT-RESTARTS'],
    ...status.nodes.map((node) => [
      node.name,
      node.ready ? 'Ready' : 'NotReady',
      node.addresses.join(','),
      node.podCidrs.join(','),
      String(node.pid),
      String(node.agent?.pid ?? '-'),
      String(node.agent?.restarts ?? '-'),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const table = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('   ')
      .trimEnd(),
  );
  return `${[...lines, '', ...table].join('\n')}\n`;
}
