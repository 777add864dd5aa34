import type { ConntrackKernel, Flow } from '../../../kernel/conntrack/objects.ts';
import type { EntryPair } from './family-program.ts';
import type { RuleContext } from './rules.ts';
import type { ServiceTable } from './service-table.ts';

/** IANA's number. */
const UDP = 17;

/**
 * Rules are asked only for the first datagram of a flow. Flows that began before what they say now, untranslated or
 * led to a port of this process, are deleted: the next datagram is judged anew. What another mode led to an endpoint
 * stays.
 */
export function deleteAltered(
  conntrack: ConntrackKernel,
  altered: readonly EntryPair[],
  { family, address }: RuleContext,
): number {
  let deleted = 0;
  for (const { entry, protocol } of altered) {
    if (protocol !== 'UDP') continue;
    const destination = entry.address === undefined ? {} : { destination: entry.address };
    const filter = { family, protocol: UDP, destinationPort: entry.port, ...destination };
    for (const flow of conntrack.list(filter)) {
      if (!isUntranslated(flow) && flow.reply.source !== address.toString()) continue;
      if (conntrack.delete(flow)) deleted += 1;
    }
  }
  return deleted;
}

/** The same for all Services at once: flows to ports that an earlier process had, and such as found no rule. */
export function deleteStrays(conntrack: ConntrackKernel, table: ServiceTable, context: RuleContext): number {
  const { family } = context;
  let deleted = 0;
  for (const flow of conntrack.list({ family, protocol: UDP })) {
    const { destination, destinationPort } = flow.original;
    if (table.find('UDP', family, destination, destinationPort) === undefined) continue;
    if (!isUntranslated(flow) && !leadsToFormerPort(flow, context)) continue;
    if (conntrack.delete(flow)) deleted += 1;
  }
  return deleted;
}

/** Flows to the ports of this process, when nobody listens there any more. */
export function deleteOwn(conntrack: ConntrackKernel, { family, address, ports }: RuleContext): number {
  let deleted = 0;
  for (const flow of conntrack.list({ family, protocol: UDP })) {
    const { source, sourcePort } = flow.reply;
    if (source !== address.toString() || !Object.values(ports.UDP).includes(sourcePort)) continue;
    if (conntrack.delete(flow)) deleted += 1;
  }
  return deleted;
}

function isUntranslated({ original, reply }: Flow): boolean {
  return reply.source === original.destination && reply.sourcePort === original.destinationPort;
}

function leadsToFormerPort({ reply }: Flow, { address, ports }: RuleContext): boolean {
  return reply.source === address.toString() && !Object.values(ports.UDP).includes(reply.sourcePort);
}
