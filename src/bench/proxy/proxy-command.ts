import { Command, InvalidArgumentError, Option } from 'commander';
import { measureProxy, type ProxyMeasurement } from './measure.ts';

interface Options {
  readonly mode: string;
  readonly services: readonly number[];
  readonly endpoints: number;
  readonly changes: number;
  readonly json?: boolean;
}

/** kube-proxy 1.36.3 in nftables mode with 10 endpoints a Service, on two cores like those this was written on. */
const KUBE_PROXY = new Map([
  [100, { firstSync: '0.05 s', change: '26 ms', rss: '65 MB' }],
  [1000, { firstSync: '0.25 s', change: '169 ms', rss: '104 MB' }],
  [5000, { firstSync: '3.0 s', change: '1360 ms', rss: '276 MB' }],
  [10_000, { firstSync: '11.8 s', change: '4140 ms', rss: '498 MB' }],
]);

export function command(): Command {
  return new Command('proxy')
    .summary('service proxy: first sync, time of a change, CPU and memory')
    .description(
      'Starts the service proxy as a process of its own in a network namespace of its own, against a recorded API, ' +
        'and reads back from the kernel that everything is there. firstSyncMs: from the start of the process until ' +
        'the kernel holds everything. changeMs: from an EndpointSlice event being sent until the kernel tells the ' +
        'element. rssMb: resident memory after the changes. Needs root.',
    )
    .addOption(new Option('--mode <mode>', 'proxy mode').choices(['nftables']).default('nftables'))
    .addOption(
      new Option('--services <numbers>', 'how many Services; repeat it or separate by commas')
        .argParser(collect)
        .default([], '100,1000,10000'),
    )
    .option('--endpoints <number>', 'endpoints of each Service', positive, 10)
    .option('--changes <number>', 'changes to measure', positive, 300)
    .option('--json', 'one JSON object for each number of Services, one a line')
    .action(async (options: Options) => {
      const counts = options.services.length === 0 ? [100, 1000, 10_000] : options.services;
      const results: ProxyMeasurement[] = [];
      for (const services of counts) {
        const { endpoints, changes } = options;
        const result = rounded(await measureProxy({ services, endpoints, changes }, progress));
        if (options.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
        else results.push(result);
      }
      if (options.json !== true) process.stdout.write(table(results));
    });
}

function progress(what: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${what} …\n`);
}

function collect(text: string, before: readonly number[]): readonly number[] {
  return [...before, ...text.split(',').map(positive)];
}

function positive(text: string): number {
  const number = Number(text);
  if (Number.isInteger(number) && number > 0) return number;
  throw new InvalidArgumentError('a whole number from 1 on is expected');
}

const round = (value: number): number => Math.round(value * 100) / 100;

function rounded(result: ProxyMeasurement): ProxyMeasurement {
  return {
    ...result,
    firstSyncMs: round(result.firstSyncMs),
    changeMs: { p50: round(result.changeMs.p50), p99: round(result.changeMs.p99) },
    cpuMsPerChange: round(result.cpuMsPerChange),
    rssMb: round(result.rssMb),
  };
}

function table(results: readonly ProxyMeasurement[]): string {
  const rows = [
    ['proxy', 'services', 'endpoints', 'first sync', 'change p50', 'change p99', 'CPU/change', 'memory'],
    ...results.flatMap((result) => {
      const known = result.endpoints === 10 ? KUBE_PROXY.get(result.services) : undefined;
      const own = [
        'flatnet',
        String(result.services),
        String(result.endpoints),
        `${(result.firstSyncMs / 1000).toFixed(2)} s`,
        `${result.changeMs.p50.toFixed(2)} ms`,
        `${result.changeMs.p99.toFixed(2)} ms`,
        `${result.cpuMsPerChange.toFixed(2)} ms`,
        `${result.rssMb.toFixed(0)} MB`,
      ];
      if (known === undefined) return [own];
      const other = [
        'kube-proxy 1.36.3',
        own[1] ?? '',
        own[2] ?? '',
        known.firstSync,
        known.change,
        '',
        '',
        known.rss,
      ];
      return [own, other];
    }),
  ];
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return `${rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')}\n`;
}
