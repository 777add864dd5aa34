/** Milliseconds in each unit that Go's time.ParseDuration knows; both signs for micro are accepted there. */
const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

const PART = /(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/gy;

/** Go holds a duration as int64 nanoseconds: 292 years. */
const LARGEST_MS = Number(2n ** 63n - 1n) / 1e6;

/** Reads a Go duration (`30s`, `24h0m0s`, `1h15m30.5s`, `0`); milliseconds. Undefined where it is none. */
export function parseDuration(text: string): number | undefined {
  const negative = text.startsWith('-');
  const body = /^[-+]/.test(text) ? text.slice(1) : text;
  if (body === '0') return 0;
  let total = 0;
  let end = 0;
  for (const match of body.matchAll(PART)) {
    total += Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0);
    end = match.index + match[0].length;
  }
  if (end === 0 || end !== body.length || total > LARGEST_MS) return undefined;
  return negative && total !== 0 ? -total : total;
}

/** As Go prints a duration: `24h0m0s`, `30s`, `1.5s`, `250ms`, `0s`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  const sign = ms < 0 ? '-' : '';
  const size = Math.abs(ms);
  if (size < 1e-3) return `${sign}${decimal(size * 1e6)}ns`;
  if (size < 1) return `${sign}${decimal(size * 1e3)}µs`;
  if (size < 1000) return `${sign}${decimal(size)}ms`;
  const hours = Math.floor(size / 3_600_000);
  const minutes = Math.floor((size % 3_600_000) / 60_000);
  const seconds = `${decimal((size % 60_000) / 1000)}s`;
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`;
}

const decimal = (value: number): string => String(Number(value.toFixed(9)));
