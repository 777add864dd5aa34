import { Command, InvalidArgumentError, Option } from 'commander';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { buildFlatnetPath } from './flatnet-path.ts';
import { buildManualPath } from './manual-path.ts';
import { measureThroughput, median } from './measured-path.ts';

interface Flags {
  readonly backend: BackendSettings['type'];
  readonly rounds: number;
  readonly seconds: number;
  readonly json?: boolean;
}

const GIGABIT = 1e9;

export function command(): Command {
  return new Command('podnet')
    .summary('pod network: TCP throughput between pods of two nodes, beside the same path built by hand')
    .description(
      'Builds two pairs of nodes in network namespaces, one by Flatnet and one with ip(8), and measures iperf3 over\n' +
        'the one and the other by turns. Flatnet reaches its goal with a ratio of 0.95 or more.',
    )
    .addOption(new Option('--backend <type>', 'backend').choices(['vxlan', 'host-gw']).default('vxlan'))
    .option('--rounds <n>', 'measurements of each path', positive, 5)
    .option('--seconds <n>', 'length of one measurement', positive, 3)
    .option('--json', 'print one JSON object')
    .action(bench);
}

async function bench({ backend, rounds, seconds, json }: Flags): Promise<void> {
  const settings: BackendSettings =
    backend === 'vxlan'
      ? { type: 'vxlan', vni: 1, port: 8472, directRouting: false, underlayMtu: undefined }
      : { type: 'host-gw', underlayMtu: undefined };
  const prefix = `fnt-bench${process.pid}`;
  const flatnet = await buildFlatnetPath(`${prefix}-f`, settings);
  const gbps = { flatnet: [] as number[], manual: [] as number[] };
  try {
    const manual = await buildManualPath(`${prefix}-m`, settings);
    try {
      for (let round = 1; round <= rounds; round += 1) {
        for (const [name, path] of Object.entries({ flatnet, manual })) {
          const measured = (await measureThroughput(path, seconds)) / GIGABIT;
          gbps[name === 'flatnet' ? 'flatnet' : 'manual'].push(measured);
          if (json !== true)
            process.stderr.write(`round ${round}/${rounds} ${name}: ${measured.toFixed(2)} Gbit/s\n`);
        }
      }
    } finally {
      manual.close();
    }
  } finally {
    flatnet.close();
  }
  report(backend, seconds, gbps, json === true);
}

function report(
  backend: string,
  seconds: number,
  gbps: { flatnet: number[]; manual: number[] },
  json: boolean,
): void {
  const flatnetGbps = round(median(gbps.flatnet));
  const manualGbps = round(median(gbps.manual));
  const ratio = round(median(gbps.flatnet) / median(gbps.manual));
  if (json) {
    const result = {
      bench: 'podnet',
      backend,
      rounds: gbps.flatnet.length,
      seconds,
      flatnetGbps,
      manualGbps,
      ratio,
      samples: { flatnet: gbps.flatnet.map(round), manual: gbps.manual.map(round) },
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  process.stdout.write(
    `backend    Flatnet        by hand        ratio (medians)\n${backend.padEnd(10)} ${`${flatnetGbps} Gbit/s`.padEnd(14)} ${`${manualGbps} Gbit/s`.padEnd(14)} ${ratio}\n`,
  );
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value <= 3600) return value;
  throw new InvalidArgumentError('must be a whole number from 1 to 3600');
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
