import { Command, Option } from 'commander';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { benchInUml, INSIDE_UML } from '../user-mode-linux.ts';
import { measureProxy } from './measure.ts';
import { rounded, type ProxyMeasurement } from './measurement.ts';
import { BENCH_MODES } from './modes/all-modes.ts';
import { ipvsAvailable } from './modes/ipvs.ts';
import type { BenchMode } from './modes/mode.ts';
import { table } from './table.ts';
import { countUpTo } from '../count.ts';

const positive = countUpTo(Infinity);

interface Options {
  readonly mode: string;
  readonly services: readonly number[];
  readonly endpoints: number;
  readonly changes: number;
  readonly changesSeconds: number;
  readonly connections: number;
  readonly syncTimeout: number;
  readonly uml?: boolean;
  readonly json?: boolean;
}

const ALL = 'all';
const SIZES = [10, 100, 1000, 5000, 10_000];

export function command(): Command {
  return new Command('proxy')
    .summary('service proxy, in every mode: first sync, time of a change, CPU, memory, connection set-up')
    .description(
      'Starts the service proxy as a process of its own on a node of its own (network namespaces), against a recorded\n' +
        'API, and reads back from the kernel that everything is there.\n' +
        '  first sync   from the start of the process until the kernel holds everything\n' +
        '  change       from an EndpointSlice event being sent until the kernel holds it\n' +
        '  CPU, tools   of a change: of the proxy itself, of the programs that it starts\n' +
        '  memory       resident, after first sync and changes\n' +
        '  no rules, direct, first, last   median time in which a pod sets up a TCP connection to another pod before\n' +
        '               the proxy starts, past its rules, through the first Service and through the last\n' +
        'Needs root.',
    )
    .addOption(
      new Option('--mode <mode>', 'proxy mode')
        .choices([...BENCH_MODES.map(({ name }) => name), ALL])
        .default('nftables'),
    )
    .addOption(
      new Option('--services <numbers>', 'how many Services; repeat it or separate by commas')
        .argParser(collect)
        .default([], SIZES.join(',')),
    )
    .option('--endpoints <number>', 'endpoints of each Service', positive, 10)
    .option('--changes <number>', 'changes to measure', positive, 300)
    .option('--changes-seconds <number>', 'no more changes after so long', positive, 60)
    .option('--connections <number>', 'connections to measure for each target', positive, 2000)
    .option('--sync-timeout <seconds>', 'give up when the first sync takes longer', positive, 600)
    .option('--uml', 'in user-mode-linux, as ipvs is where the kernel has no IPVS')
    .option('--json', 'one JSON object for each mode and number of Services, one a line')
    .action(bench);
}

async function bench(options: Options): Promise<void> {
  const sizes = options.services.length === 0 ? SIZES : options.services;
  const results: ProxyMeasurement[] = [];
  const tell = (result: ProxyMeasurement): void => {
    if (options.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
    else results.push(result);
  };
  try {
    for (const mode of BENCH_MODES) {
      if (options.mode !== ALL && options.mode !== mode.name) continue;
      if (!INSIDE_UML && (options.uml === true || (mode.name === 'ipvs' && !ipvsAvailable()))) {
        progress(`${mode.name}: in user-mode-linux`);
        const args = ['proxy', ...argumentsFor(mode, sizes, options), '--json'];
        await benchInUml(args, 'ip_vs ip_vs_rr dummy veth', (line) => {
          tell({ ...(JSON.parse(line) as ProxyMeasurement), machine: 'user-mode-linux' });
        });
      } else await benchMode(mode, sizes, options, tell);
    }
  } finally {
    // What was measured before something went wrong took its time.
    if (options.json !== true && results.length > 0) process.stdout.write(table(results));
  }
}

async function benchMode(
  mode: BenchMode,
  sizes: readonly number[],
  options: Options,
  tell: (result: ProxyMeasurement) => void,
): Promise<void> {
  const { endpoints, changes, connections } = options;
  const limits = { changesMs: options.changesSeconds * 1000, firstSyncTimeoutMs: options.syncTimeout * 1000 };
  for (const services of sizes) {
    const scale = { services, endpoints, changes, connections, ...limits };
    try {
      tell(rounded(await measureProxy(mode, scale, progress)));
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'BENCH_TIMEOUT') throw error;
      process.stderr.write(`${mode.name} with ${services} Services: ${error.message}\n`);
      return;
    }
  }
}

function argumentsFor(mode: BenchMode, sizes: readonly number[], options: Options): string[] {
  const numbers = {
    endpoints: options.endpoints,
    changes: options.changes,
    'changes-seconds': options.changesSeconds,
    connections: options.connections,
    'sync-timeout': options.syncTimeout,
  };
  const words = Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return ['--mode', mode.name, '--services', sizes.join(','), ...words];
}

function progress(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${what} …\n`);
}

function collect(text: string, before: readonly number[]): readonly number[] {
  return [...before, ...text.split(',').map(positive)];
}
