import { Command, InvalidArgumentError, Option } from 'commander';
import { run } from '../../kernel/exec/run.ts';
import { createNetns, deleteNetns, Netns } from '../../kernel/netns/netns.ts';
import { networkSchema, type BackendSettings } from '../../podnet/network-config.ts';
import { benchInUml, INSIDE_UML } from '../user-mode-linux.ts';
import {
  compare,
  MEASURES,
  renderTable,
  type BackendResult,
  type Measure,
  type PathName,
  type Samples,
} from './comparison.ts';
import { buildFlatnetPath } from './flatnet-path.ts';
import { measureThroughput } from './iperf.ts';
import { buildManualPath } from './manual-path.ts';
import type { MeasuredPath } from './measured-path.ts';
import { measureTraffic } from './traffic/bench-traffic.ts';
import { countUpTo } from '../count.ts';

interface Flags {
  readonly backend: string;
  readonly measure: readonly Measure[];
  readonly rounds: number;
  readonly seconds: number;
  readonly rules: boolean;
  readonly json?: boolean;
}

const BACKENDS: readonly BackendSettings['type'][] = ['vxlan', 'host-gw', 'ipip', 'wireguard', 'udp'];
const ALL = 'all';
const GIGABIT = 1e9;
/** A turn of the same process's traffic: some 50 to 100 ms. */
const REQUESTS = 2000;
const MEGABYTES = 60;

export function command(): Command {
  return new Command('podnet')
    .summary(
      'pod network: throughput and latency between pods of two nodes, beside the same path built by hand',
    )
    .description(
      'Builds pairs of nodes in network namespaces, one by Flatnet with all its rules (masquerade, service proxy), one\n' +
        'by hand (ip, wg, socat), and one by hand with a masquerade rule, without which pods do not reach the world and\n' +
        'with which the kernel tracks connections. Measures them by turns:\n' +
        '  tcp1, tcp8, udp   iperf3, Gbit/s at the receiver\n' +
        '  latency           median of a request of one byte and its answer over a TCP connection\n' +
        '  core              TCP by one process that is both ends, by its CPU time: what else runs does not count\n' +
        'Ratios are medians of the rounds; the goal is 0.97 or more. ipip runs in user-mode-linux where the kernel has\n' +
        'none (no rules there), wireguard with wireguard-go where it has none. `taskset -c 0` in front keeps\n' +
        'everything, workers too, on one core.',
    )
    .addOption(new Option('--backend <type>', 'backend').choices([...BACKENDS, ALL]).default('vxlan'))
    .addOption(
      new Option('--measure <names>', 'what to measure, separated by commas')
        .argParser(measures)
        .default(Object.keys(MEASURES), Object.keys(MEASURES).join(',')),
    )
    .option('--rounds <n>', 'measurements of each path', countUpTo(3600), 9)
    .option('--seconds <n>', 'length of one measurement', countUpTo(3600), 1)
    .option('--no-rules', "without Flatnet's rules: the encapsulation alone")
    .option('--json', 'one JSON object for each backend, one a line')
    .action(bench);
}

async function bench(flags: Flags): Promise<void> {
  const results: BackendResult[] = [];
  const tell = (result: BackendResult): void => {
    if (flags.json === true) process.stdout.write(`${JSON.stringify(result)}\n`);
    else results.push(result);
  };
  for (const backend of BACKENDS) {
    if (flags.backend !== ALL && flags.backend !== backend) continue;
    if (backend === 'ipip' && !INSIDE_UML && !(await hasIpip())) {
      await benchInUml(['podnet', ...argumentsFor(backend, flags)], 'ipip veth bridge', (line) => {
        tell({ ...(JSON.parse(line) as BackendResult), machine: 'user-mode-linux' });
      });
    } else tell(await benchBackend(backend, flags));
  }
  if (flags.json !== true) process.stdout.write(`${renderTable(results)}\n`);
}

async function benchBackend(type: string, flags: Flags): Promise<BackendResult> {
  const { backend: settings } = networkSchema.parse({ Network: '10.244.0.0/16', Backend: { Type: type } });
  const prefix = `fnt-b${process.pid}`;
  // Its kernel has no nftables for IPv4.
  const rules = flags.rules && !INSIDE_UML;
  const builders: [PathName, () => Promise<MeasuredPath>][] = [
    ['flatnet', async () => buildFlatnetPath(`${prefix}f`, settings, rules)],
    ['byHand', async () => buildManualPath(`${prefix}m`, settings, false)],
  ];
  if (rules) builders.push(['byHandTracked', async () => buildManualPath(`${prefix}t`, settings, true)]);
  const paths = new Map<PathName, MeasuredPath>();
  try {
    for (const [name, build] of builders) paths.set(name, await build());
    const compared: BackendResult['measures'] = {};
    for (const measure of flags.measure)
      compared[measure] = compare(measure, await sample(measure, paths, flags));
    return { backend: type, measures: compared };
  } finally {
    for (const path of paths.values()) path.close();
  }
}

async function sample(
  measure: Measure,
  paths: ReadonlyMap<PathName, MeasuredPath>,
  { rounds, seconds }: Flags,
): Promise<Samples> {
  const samples: Samples = {};
  if (measure === 'latency' || measure === 'core') {
    const echo = measure === 'latency';
    const turns = echo
      ? await measureTraffic('echo', [...paths.values()], rounds, REQUESTS)
      : await measureTraffic('bulk', [...paths.values()], rounds, MEGABYTES);
    for (const [index, name] of [...paths.keys()].entries()) {
      samples[name] = (turns[index] ?? []).map(({ nanoseconds, used }) =>
        echo ? nanoseconds / 1000 : 8e6 / used,
      );
    }
    return samples;
  }
  for (let round = 1; round <= rounds; round += 1) {
    for (const [name, path] of paths) {
      const measured = (await measureThroughput(path, measure, seconds)) / GIGABIT;
      (samples[name] ??= []).push(measured);
      process.stderr.write(`${measure} ${round}/${rounds} ${name}: ${measured.toFixed(2)} Gbit/s\n`);
    }
  }
  return samples;
}

async function hasIpip(): Promise<boolean> {
  const name = `fnt-b${process.pid}p`;
  createNetns(name);
  const netns = Netns.named(name);
  try {
    const words = ['link', 'add', 'probe', 'type', 'ipip', 'remote', '192.0.2.1'];
    return await run('ip', words, { netns: netns.fd }).then(
      () => true,
      () => false,
    );
  } finally {
    netns.close();
    deleteNetns(name);
  }
}

function argumentsFor(backend: string, { measure, rounds, seconds, rules }: Flags): string[] {
  const numbers = ['--rounds', String(rounds), '--seconds', String(seconds)];
  const flags = ['--backend', backend, '--measure', measure.join(','), ...numbers, '--json'];
  return rules ? flags : [...flags, '--no-rules'];
}

function measures(text: string): Measure[] {
  return text.split(',').map((name) => {
    if (Object.hasOwn(MEASURES, name)) return name as Measure;
    throw new InvalidArgumentError(`there is no "${name}"; known are ${Object.keys(MEASURES).join(', ')}`);
  });
}
