import type { IpFamily } from '../../../src/net/ip.ts';
import type { Protocol } from '../../../src/proxy/services/service-spec.ts';
import { INSIDE_UML } from '../../uml/uml.ts';
import type { CallResult } from './host.ts';
import { clusterIp, externalIp, loadBalancerIp, servicePorts, type TestService } from './objects.ts';
import type { Caller, Outcome, Row, Topic } from './row.ts';
import type { CallSlots } from './call-slots.ts';
import { ADDRESSES, nodeAddresses, type ProxyNetwork } from './topology.ts';

/** As long as nobody answers nothing is said: longer than any answer takes, shorter than TCP's second attempt. */
const SILENCE_MS = 700;
/** A refusal that takes as long as TCP's second attempt was none at once. */
const AT_ONCE_MS = 900;
const LATE_MS = 2500;
/** User-mode-linux has one processor, which is slower. */
const ANSWER_MS = INSIDE_UML ? 10_000 : 3000;
/** An endpoint that should not be there has stayed unseen after so many calls one time in 256 or less. */
const MIN_CALLS = 8;
/** With fair dice three endpoints are all seen after so many calls, but one time in 10^12. */
const MAX_CALLS = 72;
const CALLS_AT_ONCE = 4;

export interface Address {
  readonly host: string;
  readonly port: number;
  readonly protocol: Protocol;
}

export function protocolOf(row: Pick<Row, 'protocol'>, topic: Topic): Protocol {
  return row.protocol ?? topic.service.ports?.[0]?.protocol ?? 'TCP';
}

/** Where the row calls. */
export function addressOf(row: Row, service: TestService, family: IpFamily): Address {
  const ports = servicePorts(service);
  const protocol = protocolOf(row, { service, rows: [] });
  const port = row.port ?? ports[0]?.port ?? 80;
  const nodePort = ports.find((one) => one.port === port)?.nodePort ?? 0;
  const at = ADDRESSES[family];
  const { number } = service;
  const addresses: Record<Row['to'], [host: string, port: number]> = {
    'cluster-ip': [clusterIp(number, family), port],
    'external-ip': [externalIp(number, family), port],
    'load-balancer-ip': [loadBalancerIp(number, family), port],
    'node-port': [at.node, nodePort],
    'node-port at second address': [at.nodeSecond, nodePort],
    'node-port at bridge': [at.bridge, nodePort],
    'node-port at loopback': [at.loopback, nodePort],
  };
  const [host, called] = addresses[row.to];
  return { host, port: called, protocol };
}

/** The outcome in the words that `callRow` finds for what it sees. */
export function outcomeText(outcome: Outcome, from: Caller): string {
  if (outcome.kind !== 'answered') return outcome.kind;
  return outcome.by
    .map((endpoint) => {
      const masqueraded = outcome.source === 'node' || endpoint === from || from === 'node';
      return answerText(endpoint, outcome.port ?? 8080, masqueraded ? 'node' : 'caller');
    })
    .sort()
    .join(', ');
}

/** Makes the row's calls and says what comes of them, in `outcomeText`'s words. */
export async function callRow(
  network: ProxyNetwork,
  { from, outcome }: Row,
  { host, port, protocol }: Address,
  slots: CallSlots,
): Promise<string> {
  const caller = network.caller(from);
  const refusedMs = outcome.kind === 'rejected' && outcome.late === true ? LATE_MS : AT_ONCE_MS;
  const once = async (timeoutMs: number): Promise<string> =>
    resultText(await caller.call(host, port, { protocol, timeoutMs }), from, refusedMs);
  // Those that wait for nothing stand in nobody's way.
  if (outcome.kind === 'dropped') return await once(SILENCE_MS);
  const seen = new Set<string>();
  const wanted = new Set(outcomeText(outcome, from).split(', '));
  const minimum = outcome.kind === 'answered' ? MIN_CALLS : CALLS_AT_ONCE;
  for (let calls = 0; calls < MAX_CALLS; calls += CALLS_AT_ONCE) {
    const batch = Array.from({ length: CALLS_AT_ONCE }, async () =>
      slots.use(async () => await once(ANSWER_MS)),
    );
    for (const text of await Promise.all(batch)) seen.add(text);
    if ([...seen].some((text) => !wanted.has(text))) break;
    if (seen.size === wanted.size && calls + CALLS_AT_ONCE >= minimum) break;
  }
  return [...seen].sort().join(', ');
}

function resultText({ reply, error, ms }: CallResult, from: Caller, refusedMs: number): string {
  if (reply !== undefined) return answerText(reply.host, reply.port, sourceText(reply.source, from));
  if (error === 'ETIMEDOUT') return 'dropped';
  // EPERM: what a UDP socket of the node itself is told, as its packet is refused before it leaves (ip_output).
  if (error !== 'ECONNREFUSED' && error !== 'EPERM') return error ?? 'nothing';
  return ms <= refusedMs ? 'rejected' : `rejected after ${Math.round(ms)} ms`;
}

function sourceText(source: string, from: Caller): string {
  const family = source.includes(':') ? 6 : 4;
  if (nodeAddresses(family).includes(source)) return 'node';
  return from !== 'node' && source === ADDRESSES[family][from] ? 'caller' : source;
}

function answerText(host: string, port: number, source: string): string {
  return `${host}:${port} sees ${source}`;
}
