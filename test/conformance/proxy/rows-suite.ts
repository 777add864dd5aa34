import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpFamily } from '../../../src/net/ip.ts';
import type { ProxyBackend } from '../../../src/proxy/backend.ts';
import { addressOf, callRow, outcomeText, protocolOf } from './call-row.ts';
import { CallSlots } from './call-slots.ts';
import { exceptionOf } from './mode-limits.ts';
import type { ConformingMode } from './modes.ts';
import type { TestService } from './objects.ts';
import type { Exception, Outcome, Row, Topic } from './row.ts';
import { BAD_INPUT_TOPICS } from './rows/bad-input.ts';
import { CLUSTER_IP_TOPICS } from './rows/cluster-ip.ts';
import { ENDPOINT_TOPICS } from './rows/endpoints.ts';
import { EXTERNAL_TOPICS } from './rows/external.ts';
import { NODE_PORT_TOPICS } from './rows/node-port.ts';
import { DEFAULT_SETTINGS, VARIANTS, type Variant } from './rows/settings.ts';
import { TestCluster } from './test-cluster.ts';
import { ProxyNetwork } from './topology.ts';

const MAIN: Variant = {
  name: 'as usual',
  settings: {},
  topics: [
    ...CLUSTER_IP_TOPICS,
    ...ENDPOINT_TOPICS,
    ...NODE_PORT_TOPICS,
    ...EXTERNAL_TOPICS,
    ...BAD_INPUT_TOPICS,
  ],
};

export const ALL_VARIANTS: readonly Variant[] = [MAIN, ...VARIANTS];

/** All rows of a variant; in user-mode-linux, beside others that want the processors, they take their time. */
const HOOK_MS = 240_000;

/** A row in one family, and what is expected of the mode. */
interface Case {
  readonly name: string;
  readonly row: Row;
  readonly service: TestService;
  readonly family: IpFamily;
  readonly expected: Outcome;
  readonly exception: Exception | undefined;
}

/** Every row, in both families, on the real kernel; rows of the same settings share one cluster and one moment. */
export function describeRows(mode: ConformingMode): void {
  const network = new ProxyNetwork(`fnt-pr${process.pid}`);
  beforeAll(async () => await network.start());
  afterAll(() => network.stop());
  describe.each(ALL_VARIANTS.map((variant) => [variant.name, variant] as const))('%s', (_, variant) => {
    describeVariant(mode, network, variant);
  });
}

function describeVariant(mode: ConformingMode, network: ProxyNetwork, variant: Variant): void {
  const cases = variant.topics.flatMap((topic, index) => casesOf(mode, topic, index + 1));
  const results = new Map<Case, string>();
  let backend: ProxyBackend | undefined;
  beforeAll(async () => {
    backend = await mode.open({ ...DEFAULT_SETTINGS, ...variant.settings }, network.node.netns.fd);
    const cluster = new TestCluster(backend);
    await cluster.rebuild();
    await cluster.set(...variant.topics.map(({ service }, index) => ({ ...service, number: index + 1 })));
    const slots = new CallSlots();
    await Promise.all(
      cases.map(async (one) => {
        if (one.exception?.instead === 'untested') return;
        const address = addressOf(one.row, one.service, one.family);
        results.set(one, await callRow(network, { ...one.row, outcome: one.expected }, address, slots));
      }),
    );
  }, HOOK_MS);
  afterAll(async () => {
    await backend?.remove();
    await backend?.close();
  });
  test.for(cases.map((one) => [one.name, one] as const))('%s', ([, one], context) => {
    context.skip(one.exception?.instead === 'untested', one.exception?.reason);
    expect(results.get(one)).toBe(outcomeText(one.expected, one.row.from));
  });
}

function casesOf(mode: ConformingMode, topic: Topic, number: number): Case[] {
  const service: TestService = { ...topic.service, number };
  return topic.rows.flatMap((row) =>
    (row.families ?? [4, 6]).map((family) => {
      const exception = exceptionOf(mode.mode, row, topic, family);
      const instead = exception?.instead;
      const expected = instead === undefined || instead === 'untested' ? row.outcome : instead;
      const what = `${service.name} ${row.to} ${protocolOf(row, topic)}${row.port === undefined ? '' : ` ${row.port}`}`;
      const because = exception === undefined ? '' : ` (${exception.reason})`;
      const name = `IPv${family}: ${row.from} -> ${what}: ${outcomeText(expected, row.from)}${because}`;
      return { name, row, service, family, expected, exception };
    }),
  );
}
