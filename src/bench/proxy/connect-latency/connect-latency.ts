import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { run } from '../../../kernel/exec/run.ts';
import type { BenchNetwork } from '../bench-network.ts';

/** Rounds of each target; the median of the rounds' medians is told. */
const ROUNDS = 9;

/**
 * Median time of TCP connections from the client's pod to each `address:port`, in microseconds. The targets take
 * turns, so that what else the machine does meets all of them. `port`: where pods listen.
 */
export async function measureConnections(
  network: BenchNetwork,
  how: 'handshake' | 'answer',
  port: number,
  targets: readonly string[],
  connections: number,
): Promise<number[]> {
  const program = join(dirname(process.argv[1] ?? ''), 'connect-latency');
  if (!existsSync(program)) {
    throw new FlatnetError(`${program} is missing, which measures connections`, {
      code: 'BENCH_INCOMPLETE',
      hint: 'install gcc and libc6-dev, then build again: node scripts/build.mjs',
    });
  }
  const count = String(Math.ceil(connections / ROUNDS));
  const { stdout } = await run(
    program,
    [
      how === 'answer' ? 'answer' : 'connect',
      network.serverPath,
      String(port),
      network.clientPath,
      // One more, which warms up.
      String(ROUNDS + 1),
      count,
      ...targets,
    ],
    { timeoutMs: 300_000 },
  );
  const rounds = stdout.trim().split('\n').slice(targets.length);
  return targets.map((_, index) => {
    const medians = rounds
      .filter((_, line) => line % targets.length === index)
      .map((line) => Number(line.split(' ')[1]) / 1000)
      .toSorted((a, b) => a - b);
    return medians[medians.length >> 1] ?? Number.NaN;
  });
}
