import { constants } from 'node:os';
import { CommanderError, type Command } from 'commander';
import { describeError } from '../errors/flatnet-error.ts';

/** A sub-command whose code is loaded only when it is called: one must not pay for the others. */
export interface LazyCommand {
  readonly summary: string;
  readonly load: () => Promise<{ command: () => Command }>;
  /** Not for people: left out of the help. */
  readonly hidden?: boolean;
}

const FAILURE = 1;
const USAGE = 2;

/** Runs the sub-command that the process's arguments name. The exit code is 0, 1 for a failure, 2 for wrong usage. */
export async function runProgram(
  program: Command,
  commands: Readonly<Record<string, LazyCommand>>,
): Promise<void> {
  endWithReader();
  try {
    const words = process.argv.slice(2);
    const wanted = (words[0] === 'help' ? words[1] : words[0]) ?? '';
    for (const [name, { summary, load, hidden = false }] of Object.entries(commands)) {
      if (name === wanted) program.addCommand((await load()).command(), { hidden });
      else program.command(name, { hidden }).summary(summary).description(summary);
    }
    throwInsteadOfExit(program, program.name());
    await program.parseAsync();
  } catch (error) {
    process.exitCode = exitCode(error);
  }
}

function exitCode(error: unknown): number {
  // commander has printed its message; asking for help is no mistake.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : USAGE;
  process.stderr.write(`error: ${describeError(error)}\n`);
  return FAILURE;
}

function throwInsteadOfExit(command: Command, path: string): void {
  command.exitOverride().showHelpAfterError(`See '${path} --help' for usage.`);
  for (const child of command.commands) throwInsteadOfExit(child, `${path} ${child.name()}`);
}

/** The reader has seen enough, as in `… | head`; others end by SIGPIPE, which Node.js ignores. */
function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(128 + constants.signals.SIGPIPE);
  });
}
