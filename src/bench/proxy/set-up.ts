import { withProxyBench, type ProxyBench, type ProxyScale } from './measure.ts';
import { median } from '../statistics.ts';
import type { ConnectTimes } from './measurement.ts';
import type { BenchMode } from './modes/mode.ts';

type Target = Exclude<keyof ConnectTimes, 'bare'>;

/** Time that setting up a connection takes where there are few Services, and where there are many. */
export interface SetUpComparison {
  readonly mode: string;
  readonly few: number;
  readonly many: number;
  /** Medians of the rounds, microseconds; median of the rounds' ratios of many to few. */
  readonly times: Readonly<Record<Target, { fewUs: number; manyUs: number; ratio: number }>>;
}

const FEW = 10;
const TARGETS = ['direct', 'firstService', 'lastService'] as const;

/** Measures by turns on two nodes that are there at the same time. */
export async function compareSetUp(mode: BenchMode, many: number, rounds: number): Promise<SetUpComparison> {
  return withProxyBench(mode, scaleOf(FEW), async (fewer) =>
    withProxyBench(mode, scaleOf(many), async (more) => {
      for (const node of [fewer, more]) await node.firstSync();
      const measured: [Times, Times][] = [];
      for (let round = 0; round < rounds; round += 1) measured.push(await byTurns(fewer, more, round));
      const times = Object.fromEntries(TARGETS.map((target) => [target, summary(target, measured)]));
      return { mode: mode.name, few: FEW, many, times: times as SetUpComparison['times'] };
    }),
  );
}

const scaleOf = (services: number): ProxyScale => ({
  services,
  endpoints: 10,
  changes: 0,
  changesMs: 0,
  connections: 2000,
  firstSyncTimeoutMs: 600_000,
});

type Times = Omit<ConnectTimes, 'bare'>;

/** Each of them begins every other round. */
async function byTurns(fewer: ProxyBench, more: ProxyBench, round: number): Promise<[Times, Times]> {
  if (round % 2 === 0) return [await fewer.connect(), await more.connect()];
  const many = await more.connect();
  return [await fewer.connect(), many];
}

function summary(
  target: Target,
  rounds: readonly [Times, Times][],
): { fewUs: number; manyUs: number; ratio: number } {
  return {
    fewUs: median(rounds.map(([few]) => few[target])),
    manyUs: median(rounds.map(([, many]) => many[target])),
    ratio: median(rounds.map(([few, many]) => many[target] / few[target])),
  };
}
