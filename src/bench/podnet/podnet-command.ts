import { Command, InvalidArgumentError, Option } from 'commander';
import { vxlanSchema } from '../../podnet/backends/vxlan/settings.ts';
import type { BackendSettings } from '../../podnet/network-config.ts';
import { buildFlatnetPath } from './flatnet-path.ts';
import { buildManualPath } from './manual-path.ts';
import { measureThroughput, median, type MeasuredPath } from './measured-path.ts';

interface Flags {
  readonly backend: BackendSettings['type'];
  readonly rounds: number;
  readonly seconds: number;
  readonly json?: boolean;
}

/** By hand: with ip(8) alone, and with one masquerade rule and so the tracking of connections. */
type PathName = 'flatnet' | 'byHand' | 'byHandTracked';

const GIGABIT = 1e9;

export function command(): Command {
  return new Command('podnet')
    .summary('pod network: TCP throughput between pods of two nodes, beside the same path built by hand')
    .description(
      'Builds pairs of nodes in network namespaces, one by Flatnet with all its rules (masquerade, service proxy), one\n' +
        'with ip(8) alone, and one with ip(8) and a masquerade rule, without which pods do not reach the world and\n' +
        'with which the kernel tracks connections. Measures iperf3 over them by turns. Ratios are medians of the\n' +
        'rounds; the goal is 0.95 or more.',
    )
    .addOption(new Option('--backend <type>', 'backend').choices(['vxlan', 'host-gw']).default('vxlan'))
    .option('--rounds <n>', 'measurements of each path', positive, 9)
    .option('--seconds <n>', 'length of one measurement', positive, 2)
    .option('--json', 'print one JSON object')
    .action(bench);
}

async function bench({ backend, rounds, seconds, json }: Flags): Promise<void> {
  const settings: BackendSettings =
    backend === 'vxlan' ? vxlanSchema.parse({ Type: 'vxlan' }) : { type: 'host-gw', underlayMtu: undefined };
  const prefix = `fnt-bench${process.pid}`;
  const builders: Record<PathName, () => Promise<MeasuredPath>> = {
    flatnet: async () => buildFlatnetPath(`${prefix}-f`, settings),
    byHand: async () => buildManualPath(`${prefix}-m`, settings, false),
    byHandTracked: async () => buildManualPath(`${prefix}-t`, settings, true),
  };
  const paths = new Map<PathName, MeasuredPath>();
  const gbps: Record<PathName, number[]> = { flatnet: [], byHand: [], byHandTracked: [] };
  try {
    for (const [name, build] of Object.entries(builders)) paths.set(name as PathName, await build());
    for (let round = 1; round <= rounds; round += 1) {
      for (const [name, path] of paths) {
        const measured = (await measureThroughput(path, seconds)) / GIGABIT;
        gbps[name].push(measured);
        if (json !== true) {
          process.stderr.write(`round ${round}/${rounds} ${name}: ${measured.toFixed(2)} Gbit/s\n`);
        }
      }
    }
  } finally {
    for (const path of paths.values()) path.close();
  }
  report({ bench: 'podnet', backend, rounds, seconds }, gbps, json === true);
}

function report(conditions: object, gbps: Record<PathName, number[]>, json: boolean): void {
  // Round by round, so that what else the machine does meanwhile weighs on all alike.
  const ratioTo = (other: number[]): number =>
    round(median(gbps.flatnet.map((value, index) => value / (other[index] ?? Number.NaN))));
  const result = {
    ...conditions,
    flatnetGbps: round(median(gbps.flatnet)),
    byHandGbps: round(median(gbps.byHand)),
    ratio: ratioTo(gbps.byHand),
    byHandTrackedGbps: round(median(gbps.byHandTracked)),
    ratioTracked: ratioTo(gbps.byHandTracked),
  };
  if (json) {
    process.stdout.write(`${JSON.stringify(result)}\n`);
    return;
  }
  process.stdout.write(
    'PATH                     GBIT/S     FLATNET TO IT\n' +
      `Flatnet                  ${result.flatnetGbps}\n` +
      `by hand                  ${String(result.byHandGbps).padEnd(10)} ${result.ratio}\n` +
      `by hand, with masquerade ${String(result.byHandTrackedGbps).padEnd(10)} ${result.ratioTracked}\n`,
  );
}

function positive(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0 && value <= 3600) return value;
  throw new InvalidArgumentError('must be a whole number from 1 to 3600');
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
