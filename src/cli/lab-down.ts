import { Command } from 'commander';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { takeDown } from '../lab/lifecycle/down.ts';
import { withLabLock } from '../lab/lifecycle/lab-lock.ts';
import { listLabs } from '../lab/state/lab-folder.ts';
import { nameOption } from './lab-name-option.ts';
import { Progress } from './progress.ts';

export function downCommand(): Command {
  return new Command('down')
    .summary('remove a lab, every trace of it')
    .description(
      'Removes a lab: its processes, namespaces, devices, rules and files. It does so too for a lab that crashed or was ' +
        'only half made, and says nothing is there when nothing is there.',
    )
    .addOption(nameOption())
    .option('--all', 'all labs of this machine')
    .addHelpText(
      'after',
      '\nExamples:\n  flatnet lab down\n  flatnet lab down --name six\n  flatnet lab down --all',
    )
    .action(down);
}

async function down(flags: { readonly name: string; readonly all?: boolean }): Promise<void> {
  if (process.getuid?.() !== 0) {
    throw new FlatnetError('root is needed to remove network namespaces', {
      code: 'NOT_ROOT',
      hint: 'run the same command with sudo',
    });
  }
  const names = flags.all === true ? listLabs() : [flags.name];
  if (names.length === 0) process.stderr.write('there are no labs\n');
  for (const name of names) {
    const progress = new Progress();
    progress.step(`taking lab "${name}" down`);
    try {
      const was = await withLabLock(name, async () => takeDown(name));
      progress.end();
      process.stderr.write(
        was ? `lab "${name}" is gone\n` : `there is no lab "${name}"; nothing to remove\n`,
      );
    } finally {
      progress.end();
    }
  }
}
