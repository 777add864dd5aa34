import { performance } from 'node:perf_hooks';
import { Command, InvalidArgumentError } from 'commander';
import type { ApiClient } from '../../cluster/api-client.ts';
import { NODES } from '../../cluster/resource-type.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../../kernel/netlink/apply.ts';
import { Cidr } from '../../net/cidr.ts';
import { ROUTE_PROTOCOL } from '../../podnet/backends/kernel-entries.ts';
import { sleep } from '../../timing/backoff.ts';
import { BenchAgent } from '../agent/bench-agent.ts';
import { cpuTime, residentMb } from '../agent/process-usage.ts';
import { countUpTo } from '../count.ts';

const positive = countUpTo(Infinity);

interface Flags {
  readonly nodes: readonly number[];
  readonly joins: number;
  readonly json?: boolean;
}

interface Result {
  readonly nodes: number;
  /** From the start of the agent until the last of them has its route. */
  readonly startMs: number;
  readonly rssMb: number;
  /** All threads of the agent, less what it uses when nothing happens. */
  readonly cpuMsPerJoin: number;
  readonly joinMs: { readonly p50: number; readonly p99: number };
}

/** A /12 has 4,096 nodes with 256 addresses each; underlay addresses are in 172.16.0.0/12, nobody answers there. */
const NETWORK = Cidr.parse('10.0.0.0/12');
const UNDERLAY = Cidr.parse('172.16.0.0/16');
const MOST_NODES = 4000;
/** The agent gives memory back five seconds after its start; what follows is what it goes on with. */
const SETTLE_MS = 7000;
const ROUTE_TIMEOUT_MS = 30_000;

export function command(): Command {
  return new Command('nodes')
    .summary("the node agent in large clusters: memory, and the cost of a node's joining")
    .description(
      'Starts the built agent in a cluster of so many nodes (Node objects with the annotations that agents publish),\n' +
        'waits until every one has its route, and lets nodes join one after the other.',
    )
    .option('--nodes <list>', 'sizes of the cluster', sizes, [3, 100, 1000])
    .option('--joins <n>', 'how many nodes join, each when the one before has its route', positive, 200)
    .option('--json', 'print one JSON object for each size')
    .action(bench);
}

async function bench({ nodes, joins, json }: Flags): Promise<void> {
  if (json !== true)
    process.stdout.write('nodes   start s   memory MB   CPU of a join ms   join p50 ms   p99\n');
  for (const count of nodes) {
    const result = await measure(count, joins);
    process.stdout.write(json === true ? `${JSON.stringify(result)}\n` : rowOf(result));
  }
}

async function measure(nodes: number, joins: number): Promise<Result> {
  const agent = await BenchAgent.start({
    prefix: `fnt-bnod${process.pid}-${nodes}`,
    network: NETWORK.toString(),
    podCidr: podCidrOf(0).toString(),
    prepare: async (client) => {
      for (let index = 1; index < nodes; index += 1) await join(client, index);
    },
  });
  const kernel = LinuxRouteKernel.open(agent.machine.netns.fd);
  try {
    await routed(kernel, nodes - 1);
    const startMs = agent.ageMs;
    await sleep(SETTLE_MS);
    const rssMb = residentMb(agent.pid);
    const idle = await idleCpu(agent.pid);
    const [cpuBefore, started] = [cpuTime(agent.pid).ownMs, performance.now()];
    const times: number[] = [];
    for (let index = nodes; index < nodes + joins; index += 1) {
      const begun = performance.now();
      await join(agent.client, index);
      await routed(kernel, index);
      times.push(performance.now() - begun);
    }
    const elapsed = performance.now() - started;
    const cpuMsPerJoin = (cpuTime(agent.pid).ownMs - cpuBefore - idle * elapsed) / joins;
    const sorted = times.sort((a, b) => a - b);
    const at = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN;
    return { nodes, startMs, rssMb, cpuMsPerJoin, joinMs: { p50: at(0.5), p99: at(0.99) } };
  } finally {
    kernel.close();
    await agent.close();
  }
}

/** As an agent does on a new machine: the Node object comes first, its annotations with the publication. */
async function join(client: ApiClient, index: number): Promise<void> {
  const name = `node-${index}`;
  const podCidr = podCidrOf(index).toString();
  await client.create(NODES, { metadata: { name }, spec: { podCIDR: podCidr, podCIDRs: [podCidr] } });
  const hex = index.toString(16).padStart(4, '0');
  const prefix = 'flannel.alpha.coreos.com/';
  const annotations = {
    [`${prefix}backend-data`]: `{"VNI":1,"VtepMAC":"02:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}"}`,
    [`${prefix}backend-type`]: 'vxlan',
    [`${prefix}kube-subnet-manager`]: 'true',
    [`${prefix}public-ip`]: UNDERLAY.at(index + 10).toString(),
  };
  const body = { metadata: { annotations } };
  await client.patch(NODES, { name }, { type: 'strategic', body }, { subresource: 'status' });
}

async function routed(kernel: LinuxRouteKernel, count: number): Promise<void> {
  const deadline = performance.now() + ROUTE_TIMEOUT_MS;
  while (kernel.routes({ protocol: ROUTE_PROTOCOL }).length < count) {
    if (performance.now() > deadline) {
      throw new FlatnetError(`the agent has no route to each of ${count} nodes`, { code: 'BENCH_TIMEOUT' });
    }
    await sleep(1);
  }
}

/** CPU milliseconds a millisecond when nothing happens. */
async function idleCpu(pid: number): Promise<number> {
  const windowMs = 3000;
  const before = cpuTime(pid).ownMs;
  await sleep(windowMs);
  return (cpuTime(pid).ownMs - before) / windowMs;
}

const podCidrOf = (index: number): Cidr => new Cidr(NETWORK.at(index * 256), 24);

function rowOf({ nodes, startMs, rssMb, cpuMsPerJoin, joinMs }: Result): string {
  const cells: readonly [string, number][] = [
    [String(nodes), 5],
    [(startMs / 1000).toFixed(2), 10],
    [rssMb.toFixed(0), 12],
    [cpuMsPerJoin.toFixed(2), 19],
    [joinMs.p50.toFixed(1), 14],
    [joinMs.p99.toFixed(1), 6],
  ];
  return `${cells.map(([text, width]) => text.padStart(width)).join('')}\n`;
}

function sizes(text: string): number[] {
  return text.split(',').map((part) => {
    const count = positive(part);
    if (count <= MOST_NODES) return count;
    throw new InvalidArgumentError(`at most ${MOST_NODES} nodes`);
  });
}
