import { IPVS_LIMITS } from '../../../src/proxy/backends/ipvs/limits.ts';
import type { IpFamily } from '../../../src/net/ip.ts';
import type { ProxyMode } from '../../../src/proxy/backend.ts';
import { protocolOf } from './call-row.ts';
import type { Exception, Row, Topic } from './row.ts';

/** What a mode cannot do wherever it comes up; undefined: it can. */
type Limit = (row: Row, topic: Topic, family: IpFamily) => Exception | undefined;

const LIMITS: Partial<Record<ProxyMode, Limit>> = {
  userspace: ({ outcome, ...row }, topic) => {
    if (protocolOf(row, topic) === 'SCTP') {
      return { reason: 'Node.js has no SCTP sockets', instead: 'untested' };
    }
    if (outcome.kind !== 'answered' || outcome.source === 'node') return undefined;
    const reason = 'the proxy itself connects to the endpoint, which sees the proxy';
    return { reason, instead: { ...outcome, source: 'node' } };
  },
  ipvs: (row, topic, family) => {
    const { outcome } = row;
    const isLate = row.from === 'node' && family === 6 && protocolOf(row, topic) === 'TCP';
    if (outcome.kind === 'rejected' && isLate) {
      const reason =
        'IPVS tells the node itself by ICMPv6, which comes within connect() and is heeded a second later';
      return { reason, instead: { kind: 'rejected', late: true } };
    }
    const isShortCircuit = topic.service.externalLocal === true && row.to !== 'cluster-ip';
    if (outcome.kind !== 'answered' || !isShortCircuit || row.from === 'outside') return undefined;
    const outside = topic.rows.find(({ from, to }) => from === 'outside' && to === row.to)?.outcome;
    if (outside?.kind !== 'answered' || outside.by.join() === outcome.by.join()) return undefined;
    const reason = IPVS_LIMITS['external-local-short-circuit'];
    return { reason, instead: { ...outcome, by: outside.by } };
  },
};

/** What the row says of the mode, or what goes for all rows of its kind. */
export function exceptionOf(
  mode: ProxyMode,
  row: Row,
  topic: Topic,
  family: IpFamily,
): Exception | undefined {
  return row.except?.[mode] ?? LIMITS[mode]?.(row, topic, family);
}
