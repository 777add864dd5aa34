import { constants } from 'node:os';
import type { Command } from 'commander';
import manifest from '../../package.json' with { type: 'json' };
import { describeError } from '../errors/flatnet-error.ts';

/** Sub-commands, loaded only when called: the agent must not pay for the lab, nor the other way round. */
const COMMANDS: Record<string, { summary: string; load: () => Promise<{ command: () => Command }> }> = {
  agent: {
    summary: 'run the agent of a node: pod network, CNI, service proxy',
    load: async () => import('./agent.ts'),
  },
  dns: { summary: 'serve cluster DNS', load: async () => import('./dns.ts') },
  lab: {
    summary: 'bring up clusters of several nodes on this machine',
    load: async () => import('./lab.ts'),
  },
  program: {
    summary: 'run one of the programs that the lab has instead of images',
    load: async () => import('./program.ts'),
  },
};

const USAGE = 2;

async function main(): Promise<void> {
  const { Command, CommanderError } = await import('commander');
  const program = new Command('flatnet')
    .description('The network of a Kubernetes cluster: pod network, CNI plugin, service proxy, cluster DNS.')
    .version(manifest.version, '--version', 'print the version')
    .enablePositionalOptions();
  const words = process.argv.slice(2);
  const wanted = (words[0] === 'help' ? words[1] : words[0]) ?? '';
  for (const [name, { summary, load }] of Object.entries(COMMANDS)) {
    if (name === wanted) program.addCommand((await load()).command());
    else program.command(name).summary(summary).description(summary);
  }
  throwInsteadOfExit(program, 'flatnet');
  try {
    await program.parseAsync();
  } catch (error) {
    // commander has printed its message; asking for help is no mistake.
    if (!(error instanceof CommanderError)) throw error;
    process.exitCode = error.exitCode === 0 ? 0 : USAGE;
  }
}

function throwInsteadOfExit(command: Command, path: string): void {
  command.exitOverride().showHelpAfterError(`See '${path} --help' for usage.`);
  for (const child of command.commands) throwInsteadOfExit(child, `${path} ${child.name()}`);
}

// The reader has seen enough, as in `flatnet lab logs node-1 | head`; others end by SIGPIPE, which Node.js ignores.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(128 + constants.signals.SIGPIPE);
});

main().catch((error: unknown) => {
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exitCode = 1;
});
