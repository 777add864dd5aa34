import { FlatnetError } from '../../errors/flatnet-error.ts';
import { run } from '../../kernel/exec/run.ts';
import { Netns } from '../../kernel/netns/netns.ts';
import { retry } from '../../timing/backoff.ts';
import type { MeasuredPath } from './measured-path.ts';

export type IperfKind = 'tcp1' | 'tcp8' | 'udp';

/** UDP: as fast as the sender can, in packets that every backend carries whole; with room for bursts. */
const FLAGS: Record<IperfKind, readonly string[]> = {
  tcp1: [],
  tcp8: ['-P', '8'],
  udp: ['-u', '-b', '0', '-l', '1372', '-w', '1M'],
};

interface IperfReport {
  readonly error?: string;
  readonly end?: { readonly sum_received?: { readonly bits_per_second: number } };
}

/** Throughput from client to server, bits per second at the receiver. */
export async function measureThroughput(
  path: MeasuredPath,
  kind: IperfKind,
  seconds: number,
): Promise<number> {
  const client = Netns.named(path.client);
  const server = Netns.named(path.server);
  const stop = new AbortController();
  try {
    const timeoutMs = (seconds + 20) * 1000;
    const options = { netns: server.fd, timeoutMs, signal: stop.signal };
    // Ended by the signal when the client is done: `-1` does not end a server whose first client came too early.
    const serving = run('iperf3', ['-s', '-B', path.serverIp], options).catch(() => undefined);
    // The first second is left out: the window grows until then.
    const args = ['-c', path.serverIp, '-t', String(seconds), '-O', '1', '-J', ...FLAGS[kind]];
    const measure = async (): Promise<number> => {
      const { stdout } = await run('iperf3', args, { netns: client.fd, timeoutMs });
      return received(JSON.parse(stdout) as IperfReport);
    };
    const throughput = await retry(measure, { attempts: 40, initialMs: 50, maxMs: 100 });
    stop.abort();
    await serving;
    return throughput;
  } finally {
    stop.abort();
    client.close();
    server.close();
  }
}

/** iperf3 ends with 0 although it failed, and says why in its report. */
function received({ error, end }: IperfReport): number {
  const sum = end?.sum_received;
  if (error === undefined && sum !== undefined) return sum.bits_per_second;
  throw new FlatnetError(`iperf3: ${error ?? 'the report has no end'}`, {
    code: 'IPERF_FAILED',
    retryable: true,
  });
}
