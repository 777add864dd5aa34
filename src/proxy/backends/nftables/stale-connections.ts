import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { ConntrackKernel, Flow } from '../../../kernel/conntrack/objects.ts';
import {
  endpointData,
  addressField,
  FieldReader,
  portField,
  protocolField,
  protocolNumber,
} from '../../../kernel/nft/field.ts';
import type { NftElement, NftKernel } from '../../../kernel/nft/objects.ts';
import type { FamilyProgram, Retired } from './family-program.ts';

// What the kernel still remembers of endpoints that are gone. TCP connections to them end by themselves; UDP has no
// end, and a client that keeps sending from one port would reach the vanished endpoint for as long as it sends.

/** More changed UDP service ports than this at once, and the table is read as a whole instead of once for each. */
const MAX_FILTERED_LISTS = 8;
const UDP = protocolNumber('UDP');

/** Whether a service port lost an endpoint, or (UDP) got its first: until then its flows went nowhere. */
function hasStaleFlows({ before, after }: Retired): boolean {
  if ((before ?? after)?.protocol !== 'UDP') return false;
  if ((before?.endpoints.length ?? 0) === 0) return (after?.endpoints.length ?? 0) > 0;
  return lostEndpoints({ before, after }).length > 0;
}

function lostEndpoints({ before, after }: Retired): string[] {
  const kept = new Set(after?.endpoints);
  return (before?.endpoints ?? []).filter((endpoint) => !kept.has(endpoint));
}

/** Deletes UDP flows that lead elsewhere than the Service does now. Returns how many. */
export function deleteStaleFlows(
  conntrack: ConntrackKernel,
  program: FamilyProgram,
  retired: readonly Retired[] | 'all',
): number {
  const flows = retired === 'all' ? listAll(conntrack, program) : listOf(conntrack, program, retired);
  let deleted = 0;
  const entries = retired === 'all' ? undefined : entriesOf(retired);
  for (const flow of flows) {
    if (isStale(flow, program, entries) && conntrack.delete(flow)) deleted += 1;
  }
  return deleted;
}

function listAll(conntrack: ConntrackKernel, program: FamilyProgram): Flow[] {
  return conntrack.list({ family: program.family, protocol: UDP });
}

function listOf(conntrack: ConntrackKernel, program: FamilyProgram, retired: readonly Retired[]): Flow[] {
  const affected = retired.filter(hasStaleFlows);
  if (affected.length > MAX_FILTERED_LISTS) return listAll(conntrack, program);
  return affected.flatMap((one) =>
    filtersOf(one, program).flatMap((filter) =>
      conntrack.list({ family: program.family, protocol: UDP, ...filter }),
    ),
  );
}

function filtersOf(
  { before, after }: Retired,
  program: FamilyProgram,
): { destination?: string; destinationPort: number }[] {
  const entries = new Set([before?.entry, after?.entry].filter((entry) => entry !== undefined));
  const nodeEntries = new Set([before?.nodeEntry, after?.nodeEntry].filter((entry) => entry !== undefined));
  return [
    ...[...entries].map((entry) => {
      const fields = new FieldReader(entry);
      const destination = fields.address(program.family);
      fields.protocol();
      return { destination, destinationPort: fields.port() };
    }),
    ...[...nodeEntries].map((entry) => {
      const fields = new FieldReader(entry);
      fields.protocol();
      return { destinationPort: fields.port() };
    }),
  ];
}

/** Keys of service ports whose flows may be stale, also of those that are gone. */
function entriesOf(retired: readonly Retired[]): Set<string> {
  const entries = new Set<string>();
  for (const { before, after } of retired) {
    for (const plan of [before, after]) {
      if (plan?.entry !== undefined) entries.add(plan.entry);
      if (plan?.nodeEntry !== undefined) entries.add(plan.nodeEntry);
    }
  }
  return entries;
}

function isStale(flow: Flow, program: FamilyProgram, retired: ReadonlySet<string> | undefined): boolean {
  const { destination, destinationPort } = flow.original;
  const port = protocolField('UDP') + portField(destinationPort);
  const nodeEntry = program.isNodeIp(addressField(destination)) ? port : undefined;
  const entry = addressField(destination) + port;
  const plan =
    program.plannedAt(entry) ?? (nodeEntry === undefined ? undefined : program.plannedAt(nodeEntry));
  const reached = endpointData(flow.reply.source, flow.reply.sourcePort);
  if (plan !== undefined) return plan.endpoints.length > 0 && !plan.endpoints.includes(reached);
  // The Service is gone: what was translated for it goes too.
  const wasOurs =
    retired?.has(entry) === true || (nodeEntry !== undefined && retired?.has(nodeEntry) === true);
  return wasOurs && flow.reply.source !== destination;
}

/**
 * Forgets clients that are bound to endpoints which a Service does not have any more. Returns how many, and how many
 * transactions that took. Between the
 * loss of the endpoint and this, a client that comes again is led to it once more: under a millisecond.
 */
export function forgetStaleClients(
  nft: NftKernel,
  program: FamilyProgram,
  retired: readonly Retired[] | 'all',
): { readonly clients: number; readonly transactions: number } {
  if (retired !== 'all' && !retired.some(hasStaleClients)) return { clients: 0, transactions: 0 };
  const addressLength = program.family === 4 ? 4 : 16;
  const stale: NftElement[] = [];
  for (const { key, value } of nft.elements(program.sets.affinity)) {
    const entry = key.slice(addressLength);
    const nodeEntry = entry.slice(addressLength);
    const atNode = program.isNodeIp(entry.slice(0, addressLength)) ? program.plannedAt(nodeEntry) : undefined;
    const plan = program.plannedAt(entry) ?? atNode;
    const valid = plan !== undefined && plan.affinitySeconds > 0 && plan.endpoints.includes(value ?? '');
    if (!valid) stale.push({ key });
  }
  return { clients: stale.length, transactions: deleteClients(nft, program, stale) };
}

function hasStaleClients(retired: Retired): boolean {
  const seconds = retired.before?.affinitySeconds ?? 0;
  if (seconds === 0) return false;
  return (retired.after?.affinitySeconds ?? 0) === 0 || lostEndpoints(retired).length > 0;
}

/** They may expire at any moment, and `delete` of one that is gone would undo the rest of its transaction. */
function deleteClients(nft: NftKernel, program: FamilyProgram, stale: readonly NftElement[]): number {
  if (stale.length === 0) return 0;
  try {
    nft.commit([{ operation: 'destroy', set: program.sets.affinity, elements: stale }]);
    return 1;
  } catch {
    // Linux before 6.3 has no `destroy`: one by one.
  }
  let transactions = 0;
  for (const element of stale) {
    try {
      nft.commit([{ operation: 'delete', set: program.sets.affinity, elements: [element] }]);
      transactions += 1;
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'ENOENT') throw error;
    }
  }
  return transactions;
}
