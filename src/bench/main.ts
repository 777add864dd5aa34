import { Command } from 'commander';
import { describeError } from '../errors/flatnet-error.ts';

/** Measured comparisons; each prints a table, or with --json one JSON object. Loaded only when called. */
const BENCHMARKS: Record<string, { summary: string; load: () => Promise<{ command: () => Command }> }> = {
  podnet: {
    summary: 'pod network: throughput between pods of two nodes, beside the same path built by hand',
    load: async () => import('./podnet/podnet-command.ts'),
  },
  proxy: {
    summary: 'service proxy: first sync, time of a change, CPU and memory',
    load: async () => import('./proxy/proxy-command.ts'),
  },
};

/** What benchmarks start as processes of their own. */
const PROCESSES: Record<string, () => Promise<{ command: () => Command }>> = {
  'proxy-process': async () => import('./proxy/proxy-process.ts'),
};

async function main(): Promise<void> {
  const program = new Command('bench').description('Measures Flatnet on this machine.');
  const wanted = process.argv[2] ?? '';
  const hidden = PROCESSES[wanted];
  if (hidden !== undefined) program.addCommand((await hidden()).command(), { hidden: true });
  for (const [name, { summary, load }] of Object.entries(BENCHMARKS)) {
    if (name === wanted) program.addCommand((await load()).command());
    else program.command(name).summary(summary).description(summary);
  }
  await program.parseAsync();
}

main().catch((error: unknown) => {
  process.stderr.write(`error: ${describeError(error)}\n`);
  process.exitCode = 1;
});
