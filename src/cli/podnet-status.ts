import { Command } from 'commander';
import type { PodnetStatus } from '../agent/podnet-status.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';

interface StatusFlags {
  readonly url: string;
  readonly output: string;
}

const TIMEOUT_MS = 5000;

/** `flatnet podnet status`: what the agent of this node says of its pod network. */
export function statusCommand(): Command {
  return new Command('status')
    .summary('what the agent of this node says of its pod network: address, backend, MTU, every peer')
    .description(
      'Asks the agent of this node: its address and why it was chosen, backend, a change of backend that is under way, MTU, and by which backend every other node is reached. Ends with 1 when pods cannot be started or a node is not reached.',
    )
    .option('--url <url>', 'where the agent serves its health', 'http://127.0.0.1:10256')
    .option('-o, --output <format>', 'text or json', 'text')
    .action(async (flags: StatusFlags) => run(flags));
}

async function run({ url, output }: StatusFlags): Promise<void> {
  const status = await ask(url);
  process.stdout.write(output === 'json' ? `${JSON.stringify(status, null, 2)}\n` : `${render(status)}\n`);
  const unreached = status.peers.some(({ by }) => by === undefined);
  if (status.waitsFor !== undefined || unreached) process.exitCode = 1;
}

async function ask(url: string): Promise<PodnetStatus> {
  try {
    const response = await fetch(new URL('/status', url), { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    return (await response.json()) as PodnetStatus;
  } catch (cause) {
    const why = cause instanceof Error && cause.cause instanceof Error ? cause.cause.message : String(cause);
    throw new FlatnetError(`cannot ask the agent at ${url}: ${why}`, {
      code: 'AGENT_UNREACHABLE',
      hint: 'is it running on this node? healthzBindAddress in its configuration tells where it listens (--url)',
      cause,
    });
  }
}

function render(status: PodnetStatus): string {
  const { device, reason, publicIps, underlayMtu, podMtu, stage, backends } = status;
  const change =
    stage === 'settled' ? '' : `, being changed to (${stage}) from ${backends.slice(1).join(', ')}`;
  const lines = [
    `node       ${status.node}`,
    `state      ${status.waitsFor === undefined ? 'ready' : `waits: ${status.waitsFor}`}`,
    ...(status.storeFailure === undefined ? [] : [`store      not followed: ${status.storeFailure}`]),
    `backend    ${backends[0] ?? ''}${change}`,
    ...(device === undefined ? [] : [`address    ${publicIps.join(', ')} on ${device}: ${reason ?? ''}`]),
    `mtu        ${podMtu ?? '?'} for pods, ${underlayMtu ?? '?'} below`,
    ...status.problems.map((problem) => `problem    ${problem}`),
  ];
  const rows = status.peers.map(({ node, by, podCidrs, publicIps: ips, problems }) => [
    node,
    by ?? 'not reached',
    podCidrs.join(','),
    ips.join(','),
    problems.join('; '),
  ]);
  return [...lines, '', ...table([['PEER', 'BY', 'PODS', 'ADDRESS', 'PROBLEMS'], ...rows])].join('\n');
}

/** Columns as wide as what is in them. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => (row[column] ?? '').length)),
  );
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}
