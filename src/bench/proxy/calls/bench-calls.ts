import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { run } from '../../../kernel/exec/run.ts';
import type { BenchNetwork } from '../bench-network.ts';
import { TARGET_PORT } from '../recorded-objects.ts';

/** Rounds of each target; the median of the rounds' medians is told. */
const ROUNDS = 9;

/** Calls from the client's pod; what is called answers in the server's namespace. Targets are `address:port`. */
export class BenchCalls {
  readonly #network: BenchNetwork;
  readonly #program: string;

  constructor(network: BenchNetwork) {
    this.#network = network;
    this.#program = join(dirname(process.argv[1] ?? ''), 'bench-calls');
    if (existsSync(this.#program)) return;
    throw new FlatnetError(`${this.#program} is missing, which measures connections`, {
      code: 'BENCH_INCOMPLETE',
      hint: 'install gcc and libc6-dev, then build again: node scripts/build.mjs',
    });
  }

  /**
   * Median time of TCP connections to each target, microseconds; `answer`: until the pod's answer has come. The targets
   * take turns, so that what else the machine does meets all of them.
   */
  async measure(
    how: 'handshake' | 'answer',
    targets: readonly string[],
    connections: number,
  ): Promise<number[]> {
    const count = Math.ceil(connections / ROUNDS);
    // One round more, which warms up.
    const stdout = await this.#run(how === 'answer' ? 'answer' : 'connect', [
      String(ROUNDS + 1),
      String(count),
      ...targets,
    ]);
    const rounds = stdout.trim().split('\n').slice(targets.length);
    return targets.map((_, index) => {
      const medians = rounds
        .filter((_, line) => line % targets.length === index)
        .map((line) => Number(line.split(' ')[1]) / 1000)
        .toSorted((a, b) => a - b);
      return medians[medians.length >> 1] ?? Number.NaN;
    });
  }

  /** Addresses of the pods that answer `count` connections to each target. */
  async names(targets: readonly string[], count: number): Promise<Map<string, Set<string>>> {
    const names = new Map(targets.map((target) => [target, new Set<string>()]));
    for (const line of (await this.#run('name', [String(count), ...targets])).trim().split('\n')) {
      const [target = '', name = ''] = line.split(' ');
      names.get(target)?.add(name);
    }
    return names;
  }

  /**
   * Begins to call, and goes on until the pod of that address answers. Resolves when the first call was answered by
   * another; `answered` rejects after ten seconds.
   */
  async awaitName(target: string, name: string): Promise<{ readonly answered: Promise<void> }> {
    const child = spawn(this.#program, this.#args('await', [name, target]), {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const answered = once(child, 'exit').then(([code]) => {
      if (code !== 0) throw new FlatnetError(`${target} is not answered by ${name}`, { code: 'ETIMEDOUT' });
    });
    await Promise.race([once(child.stdout, 'data'), answered]);
    return { answered };
  }

  async #run(what: string, args: readonly string[]): Promise<string> {
    return (await run(this.#program, this.#args(what, args), { timeoutMs: 300_000 })).stdout;
  }

  #args(what: string, args: readonly string[]): string[] {
    const { serverPath, clientPath } = this.#network;
    return [what, serverPath, String(TARGET_PORT), clientPath, ...args];
  }
}
