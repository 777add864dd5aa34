import { Command, InvalidArgumentError, Option } from 'commander';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { buildFlatnetPath } from './flatnet-path.ts';
import { buildManualPath } from './manual-path.ts';
import { measureThroughput, median } from './measured-path.ts';

interface Flags {
  readonly backend: BackendSettings['type'];
  readonly rounds: number;
  readonly seconds: number;
  readonly nat: boolean;
  readonly json?: boolean;
}

const GIGABIT = 1e9;

export function command(): Command {
  return new Command('podnet')
    .summary('pod network: TCP throughput between pods of two nodes, beside the same path built by hand')
    .description(
      'Builds two pairs of nodes in network namespaces, one by Flatnet and one with ip(8), and measures iperf3 over\n' +
        'the one and the other by turns. Both have a masquerade rule for what leaves the cluster, and so the tracking\n' +
        'of connections; with --no-nat neither has. The ratio is the median of the rounds; the goal is 0.95 or more.',
    )
    .addOption(new Option('--backend <type>', 'backend').choices(['vxlan', 'host-gw']).default('vxlan'))
    .option('--rounds <n>', 'measurements of each path', positive, 9)
    .option('--seconds <n>', 'length of one measurement', positive, 2)
    .option('--no-nat', 'without masquerade rules on either path')
    .option('--json', 'print one JSON object')
    .action(bench);
}

async function bench({ backend, rounds, seconds, nat, json }: Flags): Promise<void> {
  const settings: BackendSettings =
    backend === 'vxlan'
      ? { type: 'vxlan', vni: 1, port: 8472, directRouting: false, underlayMtu: undefined }
      : { type: 'host-gw', underlayMtu: undefined };
  const prefix = `fnt-bench${process.pid}`;
  const flatnet = await buildFlatnetPath(`${prefix}-f`, settings, nat);
  const gbps = { flatnet: [] as number[], manual: [] as number[] };
  try {
    const manual = await buildManualPath(`${prefix}-m`, settings, nat);
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
  report({ backend, seconds, nat }, gbps, json === true);
}

interface Conditions {
  readonly backend: string;
  readonly seconds: number;
  readonly nat: boolean;
}

function report(conditions: Conditions, gbps: { flatnet: number[]; manual: number[] }, json: boolean): void {
  const flatnetGbps = round(median(gbps.flatnet));
  const manualGbps = round(median(gbps.manual));
  // Round by round, so that what else the machine does meanwhile weighs on both alike.
  const ratio = round(median(gbps.flatnet.map((value, index) => value / (gbps.manual[index] ?? Number.NaN))));
  if (json) {
    const result = {
      bench: 'podnet',
      ...conditions,
      rounds: gbps.flatnet.length,
      flatnetGbps,
      manualGbps,
      ratio,
      samples: { flatnet: gbps.flatnet.map(round), manual: gbps.manual.map(round) },
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  process.stdout.write(
    `backend    Flatnet        by hand        ratio\n${conditions.backend.padEnd(10)} ${`${flatnetGbps} Gbit/s`.padEnd(14)} ${`${manualGbps} Gbit/s`.padEnd(14)} ${ratio}\n`,
  );
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value <= 3600) return value;
  throw new InvalidArgumentError('must be a whole number from 1 to 3600');
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
