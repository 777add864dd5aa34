import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { createNetns, deleteNetns } from '../../kernel/netns/netns.ts';
import { BenchMachine } from '../agent/bench-machine.ts';
import { FlatnetNetwork } from './flatnet-network.ts';
import { PluginNetwork, type CniCommand } from './plugin-network.ts';
import { countUpTo } from '../count.ts';
import { quantile } from '../statistics.ts';

interface Flags {
  readonly rounds: number;
  readonly parallel: number;
  readonly parallelRounds: number;
  readonly plugins: string;
  readonly json?: boolean;
}

type Which = 'flatnet' | 'bridge';

interface Times {
  readonly ADD: number[];
  readonly DEL: number[];
}

/** The first calls load programs and make the bridge. */
const WARM_UP_ROUNDS = 5;

export function command(): Command {
  return new Command('cni')
    .summary('CNI plugin: ADD and DEL beside the bridge and host-local plugins')
    .description(
      "Executes Flatnet's plugin, with the agent beside it, and the bridge plugin of containernetworking-plugins with\n" +
        'host-local, each on a node of its own (a network namespace) and by turns: ADD and DEL of one pod, then of many\n' +
        'at once. Times are from the start of the process to its end.',
    )
    .option('--rounds <n>', 'pods one after the other, for each', countUpTo(10_000), 200)
    .option('--parallel <n>', 'pods at once', countUpTo(10_000), 100)
    .option('--parallel-rounds <n>', 'how often that many at once, for each', countUpTo(10_000), 5)
    .option('--plugins <folder>', 'where bridge and host-local stand', '/usr/lib/cni')
    .option('--json', 'print one JSON object')
    .action(bench);
}

async function bench(flags: Flags): Promise<void> {
  if (!existsSync(join(flags.plugins, 'bridge'))) {
    throw new FlatnetError(`there is no bridge plugin in ${flags.plugins}`, {
      code: 'PLUGIN_MISSING',
      hint: 'install the package containernetworking-plugins, or give --plugins',
    });
  }
  const prefix = `fnt-bcni${process.pid}`;
  const pods = Array.from({ length: flags.parallel }, (_, index) => `${prefix}-p${index}`);
  const machine = new BenchMachine(`${prefix}-b`);
  let flatnet: FlatnetNetwork | undefined;
  try {
    for (const pod of pods) createNetns(pod);
    flatnet = await FlatnetNetwork.start(`${prefix}-f`);
    const networks = { flatnet: flatnet.network, bridge: bridgeNetwork(machine, flags.plugins) };
    const single = measureOneByOne(networks, pods, flags);
    const many = await measureAtOnce(networks, pods, flags);
    report(flags, single, many);
  } finally {
    await flatnet?.close();
    machine.close();
    for (const pod of pods) deleteNetns(pod);
  }
}

function bridgeNetwork(machine: BenchMachine, plugins: string): PluginNetwork {
  return new PluginNetwork({
    netns: machine.netns.fd,
    folder: machine.folder,
    plugin: join(plugins, 'bridge'),
    path: plugins,
    // What flannel's plugin makes of its own configuration.
    configuration: {
      cniVersion: '1.0.0',
      name: 'bench',
      type: 'bridge',
      bridge: 'cni0',
      isDefaultGateway: true,
      hairpinMode: true,
      ipMasq: false,
      mtu: 1450,
      ipam: {
        type: 'host-local',
        dataDir: join(machine.folder, 'networks'),
        ranges: [[{ subnet: '10.245.0.0/23' }]],
      },
    },
  });
}

function measureOneByOne(
  networks: Record<Which, PluginNetwork>,
  pods: readonly string[],
  { rounds, json }: Flags,
): Record<Which, Times> {
  const times = { flatnet: { ADD: [], DEL: [] }, bridge: { ADD: [], DEL: [] } } as Record<Which, Times>;
  for (let round = -WARM_UP_ROUNDS; round < rounds; round += 1) {
    const pod = pods[(round + pods.length * WARM_UP_ROUNDS) % pods.length] ?? '';
    for (const which of inTurn(round)) {
      for (const command of ['ADD', 'DEL'] as const) {
        const elapsed = networks[which].call(command, pod);
        if (round >= 0) times[which][command].push(elapsed);
      }
    }
  }
  if (json !== true) process.stderr.write(`${rounds} pods one by one\n`);
  return times;
}

async function measureAtOnce(
  networks: Record<Which, PluginNetwork>,
  pods: readonly string[],
  { parallelRounds, json }: Flags,
): Promise<Record<Which, Times>> {
  const times = { flatnet: { ADD: [], DEL: [] }, bridge: { ADD: [], DEL: [] } } as Record<Which, Times>;
  for (let round = 0; round < parallelRounds; round += 1) {
    for (const which of inTurn(round)) {
      for (const command of ['ADD', 'DEL'] as const) {
        const elapsed = await networks[which].callAll(command, pods);
        times[which][command].push(elapsed);
        if (json === true) continue;
        process.stderr.write(`${which}: ${pods.length} ${command}s at once: ${elapsed.toFixed(0)} ms\n`);
      }
    }
  }
  return times;
}

/** Who comes first changes, so that what the machine does meanwhile weighs on both alike. */
const inTurn = (round: number): readonly Which[] =>
  round % 2 === 0 ? ['flatnet', 'bridge'] : ['bridge', 'flatnet'];

function report(flags: Flags, single: Record<Which, Times>, many: Record<Which, Times>): void {
  const line = (command: CniCommand, times: Record<Which, Times>) => {
    const [own, theirs] = [times.flatnet[command], times.bridge[command]];
    return {
      flatnetMs: { p50: quantile(own, 0.5), p99: quantile(own, 0.99) },
      bridgeMs: { p50: quantile(theirs, 0.5), p99: quantile(theirs, 0.99) },
      ratio: Math.round((quantile(own, 0.5) / quantile(theirs, 0.5)) * 100) / 100,
    };
  };
  const { rounds, parallel, parallelRounds } = flags;
  const results = {
    ADD: line('ADD', single),
    DEL: line('DEL', single),
    [`${parallel} ADDs at once`]: line('ADD', many),
    [`${parallel} DELs at once`]: line('DEL', many),
  };
  if (flags.json === true) {
    const about = { bench: 'cni', rounds, parallel, parallelRounds };
    process.stdout.write(`${JSON.stringify({ ...about, results })}\n`);
    return;
  }
  const rows = [['', 'FLATNET p50 ms', 'p99', 'BRIDGE p50 ms', 'p99', 'FLATNET / BRIDGE']];
  for (const [name, { flatnetMs, bridgeMs, ratio }] of Object.entries(results)) {
    const figures = [flatnetMs.p50, flatnetMs.p99, bridgeMs.p50, bridgeMs.p99].map((ms) => ms.toFixed(1));
    rows.push([name, ...figures, ratio.toFixed(2)]);
  }
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const [first = '', ...rest] of rows) {
    const cells = rest.map((cell, index) => cell.padStart(widths[index + 1] ?? 0));
    process.stdout.write(`${[first.padEnd(widths[0] ?? 0), ...cells].join('  ')}\n`);
  }
}
