import { Command } from 'commander';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Program } from '../lab/programs/program.ts';

/** Each is loaded only when it is run: every pod is a process of its own. */
const PROGRAMS: Record<string, { summary: string; load: () => Promise<{ program: Program }> }> = {
  netexec: {
    summary: "agnhost's netexec: HTTP and UDP servers to test networks with",
    load: async () => import('../lab/programs/netexec.ts'),
  },
  'serve-hostname': {
    summary: "agnhost's serve-hostname: says the name of the pod over HTTP, TCP or UDP",
    load: async () => import('../lab/programs/serve-hostname.ts'),
  },
  guestbook: {
    summary: 'the sample application: guestbook frontend, guestbook api',
    load: async () => import('../lab/programs/guestbook.ts'),
  },
  pause: {
    summary: "agnhost's pause: waits to be ended",
    load: async () => import('../lab/programs/pause.ts'),
  },
};

/** `flatnet program`: what containers of the lab run in place of images. */
export function command(): Command {
  const list = Object.entries(PROGRAMS).map(([name, { summary }]) => `  ${name.padEnd(16)} ${summary}`);
  return new Command('program')
    .description('Runs one of the programs that the lab has in place of container images.')
    .argument('<name>', 'which one')
    .argument('[arguments...]', 'for the program')
    .passThroughOptions()
    .allowUnknownOption()
    .addHelpText('after', `\nPrograms:\n${list.join('\n')}`)
    .action(async (name: string, args: string[]) => {
      const known = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
      if (known === undefined) {
        throw new FlatnetError(`there is no program "${name}"`, {
          code: 'UNKNOWN_PROGRAM',
          hint: `there are ${Object.keys(PROGRAMS).join(', ')}`,
        });
      }
      process.exitCode = await (await known.load()).program(args);
    });
}
