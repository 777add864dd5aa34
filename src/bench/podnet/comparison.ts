import { median } from '../statistics.ts';

/** By hand: without any rules, and with one masquerade rule and so the tracking of connections. */
export type PathName = 'flatnet' | 'byHand' | 'byHandTracked';

/** Gbit/s, except for `latency`: microseconds of a request and its answer. */
export type Measure = 'tcp1' | 'tcp8' | 'udp' | 'latency' | 'core';

export const MEASURES: Record<Measure, string> = {
  tcp1: 'TCP, 1 stream, Gbit/s',
  tcp8: 'TCP, 8 streams, Gbit/s',
  udp: 'UDP, Gbit/s',
  latency: 'request and response, us',
  core: 'TCP, Gbit a second of CPU',
};

/** What was measured of each path, round by round. */
export type Samples = Partial<Record<PathName, number[]>>;

export interface Compared {
  readonly flatnet: number;
  readonly byHand: number;
  /** How well Flatnet does beside it: 1 is alike, more is better. */
  readonly ratio: number;
  readonly byHandTracked?: number;
  readonly ratioTracked?: number;
}

/** Medians; ratios round by round, so that what else the machine does meanwhile weighs on all alike. */
export function compare(measure: Measure, { flatnet = [], byHand = [], byHandTracked }: Samples): Compared {
  const ratioTo = (others: readonly number[]): number =>
    rounded(
      median(
        flatnet.map((value, index) => {
          const other = others[index] ?? Number.NaN;
          return measure === 'latency' ? other / value : value / other;
        }),
      ),
    );
  return {
    flatnet: rounded(median(flatnet)),
    byHand: rounded(median(byHand)),
    ratio: ratioTo(byHand),
    ...(byHandTracked === undefined
      ? {}
      : { byHandTracked: rounded(median(byHandTracked)), ratioTracked: ratioTo(byHandTracked) }),
  };
}

export interface BackendResult {
  readonly backend: string;
  readonly machine?: 'user-mode-linux';
  readonly measures: Partial<Record<Measure, Compared>>;
}

export function renderTable(results: readonly BackendResult[]): string {
  const rows = results.flatMap(({ backend, machine, measures }) =>
    (Object.keys(MEASURES) as Measure[]).flatMap((measure) => {
      const compared = measures[measure];
      if (compared === undefined) return [];
      const { flatnet, byHand, ratio, byHandTracked = '-', ratioTracked = '-' } = compared;
      const where = machine === undefined ? backend : `${backend} (uml)`;
      return [[where, MEASURES[measure], flatnet, byHand, ratio, byHandTracked, ratioTracked].map(String)];
    }),
  );
  const head = ['BACKEND', 'MEASURED', 'FLATNET', 'BY HAND', 'RATIO', 'BY HAND, MASQUERADE', 'RATIO'];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const rounded = (value: number): number => Number(value.toPrecision(3));
