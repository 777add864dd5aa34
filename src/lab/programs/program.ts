/** A program of a container: takes its arguments, resolves with the exit code when it has ended. */
export type Program = (args: readonly string[]) => Promise<number>;

/** A line on standard error, as Go's `log` writes it: what `kubectl logs` shows of such images. */
export function logLine(text: string): void {
  const now = new Date();
  const date = `${now.getFullYear()}/${two(now.getMonth() + 1)}/${two(now.getDate())}`;
  const time = `${two(now.getHours())}:${two(now.getMinutes())}:${two(now.getSeconds())}`;
  process.stderr.write(`${date} ${time} ${text}\n`);
}

/** Resolves at the first SIGTERM or SIGINT with the signal's name. PID 1 of a container has no default action. */
export async function terminationSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => resolve(name));
  });
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
