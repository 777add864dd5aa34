import { dirname, join } from 'node:path';
import { run } from '../../../kernel/exec/run.ts';
import { netnsPath } from '../../../kernel/netns/netns.ts';
import type { MeasuredPath } from '../measured-path.ts';

export interface Turn {
  /** Of a request and its answer, or of a megabyte. */
  readonly nanoseconds: number;
  /** Of the processor. */
  readonly used: number;
}

/**
 * Requests (`echo`) or megabytes (`bulk`), `count` a turn, over all paths by turns: for each path what each of its
 * `rounds` turns took. One turn more comes first, which warms up.
 */
export async function measureTraffic(
  how: 'echo' | 'bulk',
  paths: readonly MeasuredPath[],
  rounds: number,
  count: number,
): Promise<Turn[][]> {
  const program = join(dirname(process.argv[1] ?? ''), 'bench-traffic');
  const ways = paths.flatMap(({ client, server, serverIp }) => [
    netnsPath(client),
    netnsPath(server),
    serverIp,
  ]);
  const { stdout } = await run(program, [how, String(rounds + 1), String(count), ...ways], {
    timeoutMs: 300_000,
  });
  const turns = stdout.trim().split('\n').slice(paths.length);
  return paths.map((_, path) =>
    turns.filter((_line, index) => index % paths.length === path).map((line) => parseTurn(line)),
  );
}

function parseTurn(line: string): Turn {
  const [nanoseconds, used] = line.split(' ').map(Number);
  return { nanoseconds: nanoseconds ?? Number.NaN, used: used ?? Number.NaN };
}
