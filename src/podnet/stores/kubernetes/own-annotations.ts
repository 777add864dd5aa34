import { isDeepStrictEqual } from 'node:util';
import * as z from 'zod';
import type { IpFamily } from '../../../net/ip.ts';
import type { NodeLease, Offer } from '../../node-lease.ts';
import { parseLeaseJson } from '../lease-json.ts';

/** Our own: what flannel's annotations have no room for. */
export const OWN_PREFIX = 'flatnet.dev/';
/** Every offer of a node that has several, flannel's own annotations being the first. */
export const OFFERS = `${OWN_PREFIX}backends`;
/** A `NodeAbout`. */
export const ABOUT = `${OWN_PREFIX}node`;

type Offers = NodeLease['offers'];

/** A cluster that rolls has two, one that changes its mind on the way three. */
const MOST_OFFERS = 8;

const offersSchema = z
  .array(z.object({ type: z.string(), data: z.record(z.enum(['4', '6']), z.unknown()).optional() }))
  .max(MOST_OFFERS);

export function writeOffers(offers: Offers): string {
  return JSON.stringify(offers.map(({ type, data }) => ({ type, data: Object.fromEntries(data) })));
}

/**
 * All offers of a node. Where they do not begin with what flannel's annotations say, somebody else (flanneld) has
 * written those since, and only they count; so where ours cannot be read.
 */
export function readOffers(text: string | undefined, first: Offer): Offers {
  if (text === undefined) return [first];
  const [same, ...more] = parse(text);
  return same !== undefined && isSameOffer(same, first) ? [first, ...more] : [first];
}

function isSameOffer(a: Offer, b: Offer): boolean {
  return (
    a.type === b.type && [...b.data].every(([family, data]) => isDeepStrictEqual(a.data.get(family), data))
  );
}

function parse(text: string): Offer[] {
  try {
    return offersSchema.parse(parseLeaseJson(text)).map(({ type, data = {} }) => ({
      type,
      data: new Map(
        Object.entries(data).map(([family, value]): [IpFamily, unknown] => [family === '4' ? 4 : 6, value]),
      ),
    }));
  } catch {
    return [];
  }
}

/** Whether the node says that it may still send by a backend that it is about to leave. */
export const isUnmet = (text: string | undefined): boolean => text?.includes('"met":false') === true;

/** Of IPv6's smallest link (RFC 8200, section 5); what is below would drag the whole cluster down. */
const SMALLEST_MTU = 1280;

/** The node's underlay MTU, bytes; undefined where nothing believable is told. */
export function readUnderlayMtu(text: string | undefined): number | undefined {
  // For each change of each node: a whole parse of a thousand nodes' annotations would be felt.
  const mtu = Number(/"mtu":(\d{1,5})\b/.exec(text ?? '')?.[1]);
  return mtu >= SMALLEST_MTU ? mtu : undefined;
}
