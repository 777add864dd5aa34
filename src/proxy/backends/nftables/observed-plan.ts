import { FieldReader, indexField } from '../../../kernel/nft/field.ts';
import type { NftSet } from '../../../kernel/nft/objects.ts';
import type { Entry, Pool, PreviousPlan } from './plan.ts';
import { isStickyCode, numberOfCode, poolOf } from './service-code.ts';
import type { ProxySets } from './sets.ts';
import { numberOfRanges } from './source-ranges.ts';

type Lookup = (set: NftSet, key: string) => string | undefined;

/** What the kernel has for a service port, by its addresses; undefined: nothing. */
export function observePort(
  entries: readonly Entry[],
  sets: ProxySets,
  lookup: Lookup,
  isFree: (number: number) => boolean,
): PreviousPlan | undefined {
  for (const { key, onAllAddresses, guarded } of entries) {
    const code = lookup(onAllAddresses ? sets.serviceNodePorts : sets.serviceIps, key);
    // Without endpoints a service port has its number for the source ranges alone.
    const ofRanges = guarded ? numberOfRanges(lookup(sets.firewallIps, key)) : undefined;
    const number = numberOfCode(code) ?? ofRanges;
    if (number === undefined || !isFree(number)) continue;
    if (code === undefined) return { number, pools: [] };
    const sticky = isStickyCode(code);
    const pools = [false, true].map((local) =>
      observePool(poolOf(number, local, sticky), local, sets, lookup),
    );
    return { number, pools };
  }
  return undefined;
}

function observePool(pool: string, local: boolean, sets: ProxySets, lookup: Lookup): Pool {
  const endpoints: string[] = [];
  const own: number[] = [];
  for (;;) {
    const drawn = pool + indexField(endpoints.length);
    const ownNumber = lookup(sets.slots, drawn);
    const endpoint = lookup(sets.endpoints, ownNumber === undefined ? drawn : pool + ownNumber);
    if (endpoint === undefined) break;
    endpoints.push(endpoint);
    if (ownNumber !== undefined) own.push(new FieldReader(ownNumber).index());
  }
  return { local, endpoints, own: own.length === endpoints.length && own.length > 0 ? own : undefined };
}
