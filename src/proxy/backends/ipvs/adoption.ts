import type { IpsetChange } from '../../../kernel/ipset/objects.ts';
import {
  realServerText,
  serverText,
  type ObservedRealServer,
  type VirtualServer,
  type VirtualServerKey,
} from '../../../kernel/ipvs/objects.ts';
import type { IpvsProgram, ProgramUpdate } from './program.ts';
import { realServer, sameServer } from './program.ts';
import type { PlannedServer } from './plan.ts';
import { SET_PURPOSES, setOf } from './set-names.ts';

/** What a family has in the kernel. */
export interface ObservedFamily {
  /** Those of the family that are not excluded. */
  readonly servers: readonly VirtualServer[];
  readonly destinations: (server: VirtualServerKey) => readonly ObservedRealServer[];
  /** Entries of a set, by its name. */
  readonly entries: (set: string) => readonly string[];
  /** On kube-ipvs0. */
  readonly addresses: ReadonlySet<string>;
}

/** What has to be done for the kernel to have what the program has. Pure. */
export function adopt(program: IpvsProgram, observed: ObservedFamily): ProgramUpdate {
  const update = emptyUpdate();
  const missing = new Map(program.servers);
  for (const server of observed.servers) {
    const key = serverText(server);
    const wanted = missing.get(key);
    missing.delete(key);
    if (wanted === undefined) update.deletedServers.push({ operation: 'delete-server', server });
    else adoptServer(wanted, server, observed.destinations(server), update);
  }
  for (const { server, destinations } of missing.values()) {
    update.servers.push({ operation: 'add-server', server });
    for (const destination of destinations.values()) {
      update.servers.push({ operation: 'add-destination', server, destination: realServer(destination) });
    }
  }
  adoptEntries(program, observed, update);
  const addresses = new Set(program.addresses());
  update.addedAddresses.push(...[...addresses].filter((address) => !observed.addresses.has(address)));
  update.deletedAddresses.push(...[...observed.addresses].filter((address) => !addresses.has(address)));
  return update;
}

export function emptyUpdate(): ProgramUpdate {
  return {
    addedEntries: [],
    servers: [],
    addedAddresses: [],
    retired: [],
    deletedServers: [],
    deletedEntries: [],
    deletedAddresses: [],
    conflicts: [],
  };
}

/** Adds to `update` what one virtual server, which is there, lacks. */
export function adoptServer(
  wanted: PlannedServer,
  found: VirtualServer,
  destinations: readonly ObservedRealServer[],
  update: ProgramUpdate,
): void {
  const { server } = wanted;
  if (!sameServer(server, found)) update.servers.push({ operation: 'set-server', server });
  const missing = new Map(wanted.destinations);
  for (const destination of destinations) {
    const wantedToo = missing.delete(realServerText(destination));
    if (!wantedToo) update.retired.push({ server, destination });
    else if (!isOurs(destination)) {
      update.servers.push({ operation: 'set-destination', server, destination: realServer(destination) });
    }
  }
  for (const destination of missing.values()) {
    update.servers.push({ operation: 'add-destination', server, destination: realServer(destination) });
  }
}

function isOurs({ weight, forwarding, upperThreshold }: ObservedRealServer): boolean {
  // A real server on this node is told as `local`, whatever was asked for.
  return weight === 1 && upperThreshold === 0 && (forwarding === 'masquerade' || forwarding === 'local');
}

function adoptEntries(program: IpvsProgram, observed: ObservedFamily, update: ProgramUpdate): void {
  const wanted = new Map(SET_PURPOSES.map((purpose) => [purpose, new Set<string>()]));
  for (const { purpose, entry } of program.entries()) wanted.get(purpose)?.add(entry);
  for (const [purpose, entries] of wanted) {
    const set = setOf(purpose, program.family);
    const change = (operation: IpsetChange['operation'], entry: string): IpsetChange => ({
      operation,
      set,
      entry,
    });
    for (const entry of observed.entries(set.name)) {
      if (!entries.delete(entry)) update.deletedEntries.push(change('delete', entry));
    }
    for (const entry of entries) update.addedEntries.push(change('add', entry));
  }
}
