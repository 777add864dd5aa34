import { pino } from 'pino';
import { expect, test } from 'vitest';
import { FlatnetError } from '../errors/flatnet-error.ts';
import { AgentMetrics } from './metrics.ts';
import { NodeProblems } from './node-problems.ts';

const problem = (message: string): FlatnetError => new FlatnetError(message, { code: 'TEST' });
const none = (): number => 0;

test('what several sources find is counted together, gone when it is, and said once', async () => {
  const metrics = new AgentMetrics({ peers: none, reserved: none, capacity: none });
  const lines: string[] = [];
  const logger = pino({}, { write: (line: string) => void lines.push(line) });
  const problems = new NodeProblems(logger, metrics, undefined, (node) => node);
  const counted = async (): Promise<string | undefined> =>
    /flatnet_podnet_node_problems\{node="odd"\} (\d+)/.exec(await metrics.registry.metrics())?.[1];
  problems.set('odd', 'store', [problem('no IPv6 address'), problem('no MAC')]);
  problems.set('odd', 'network', [problem('not on link')]);
  expect(await counted()).toBe('3');
  problems.set('odd', 'network', [problem('not on link')]);
  expect(lines).toHaveLength(3);
  problems.set('odd', 'network', []);
  expect(await counted()).toBe('2');
  problems.set('odd', 'store', []);
  expect(await counted()).toBeUndefined();
  expect(problems.of('odd')).toEqual([]);
});
