import { Command, Option } from 'commander';
import { countUpTo } from '../count.ts';
import { benchInUml, INSIDE_UML } from '../user-mode-linux.ts';
import { BENCH_MODES } from './modes/all-modes.ts';
import { ipvsAvailable } from './modes/ipvs.ts';
import { compareSetUp, type SetUpComparison } from './set-up.ts';

interface Options {
  readonly mode: string;
  readonly services: number;
  readonly rounds: number;
  readonly json?: boolean;
}

export function command(): Command {
  return new Command('set-up')
    .summary('service proxy: setting up a connection, with many Services beside few')
    .description(
      'Two nodes with the service proxy, one with 10 Services and one with many; connections are set up on both by\n' +
        'turns, so that what else the machine does meets both. Medians of the rounds, microseconds, and the median of\n' +
        'the ratios of many to few: 1 is alike. Needs root.',
    )
    .addOption(
      new Option('--mode <mode>', 'proxy mode')
        .choices(BENCH_MODES.map(({ name }) => name))
        .default('nftables'),
    )
    .option('--services <number>', 'how many are many', countUpTo(Infinity), 10_000)
    .option('--rounds <number>', 'rounds of 2,000 connections to each target', countUpTo(Infinity), 15)
    .option('--json', 'one JSON object')
    .action(bench);
}

async function bench({ mode: name, services, rounds, json }: Options): Promise<void> {
  const mode = BENCH_MODES.find((each) => each.name === name);
  if (mode === undefined) return;
  const tell = (comparison: SetUpComparison): void => {
    process.stdout.write(json === true ? `${JSON.stringify(comparison)}\n` : lines(comparison));
  };
  if (name !== 'ipvs' || INSIDE_UML || ipvsAvailable()) {
    tell(await compareSetUp(mode, services, rounds));
    return;
  }
  const args = [
    'set-up',
    '--mode',
    name,
    '--services',
    String(services),
    '--rounds',
    String(rounds),
    '--json',
  ];
  await benchInUml(args, 'ip_vs ip_vs_rr dummy veth', (line) => tell(JSON.parse(line) as SetUpComparison));
}

function lines({ mode, few, many, times }: SetUpComparison): string {
  const rows = Object.entries(times).map(
    ([target, { fewUs, manyUs, ratio }]) =>
      `${target.padEnd(14)}${fewUs.toFixed(1).padStart(10)}${manyUs.toFixed(1).padStart(10)}${ratio.toFixed(3).padStart(8)}\n`,
  );
  return `${mode.padEnd(14)}${String(few).padStart(10)}${String(many).padStart(10)}   ratio\n${rows.join('')}`;
}
