import { FlatnetError } from '../../errors/flatnet-error.ts';

const UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a duration as Go writes it: `1.5s`, `1m30s`, `200ms`, `0`. */
export function parseGoDuration(text: string): number {
  if (text === '' || text === '0') return 0;
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  if (parts.map((part) => part[0]).join('') !== text) {
    throw new FlatnetError(`"${text}" is not a duration`, {
      code: 'INVALID_DURATION',
      hint: 'write it like 1m30s',
    });
  }
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * (UNITS[unit ?? ''] ?? 0), 0);
}
