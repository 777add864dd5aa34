import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { NodeLease, Offer } from '../node-lease.ts';
import type { Backend } from './backend.ts';

/** What two nodes reach each other by. */
export interface Meeting {
  readonly backend: Backend;
  /** The peer's. */
  readonly offer: Offer;
}

/**
 * Which of this node's backends (the wanted one first) and which of the peer's offers the two meet in. Both sides come
 * to the same answer from the same two lists, so that packets go and come back by one way (a strict rp_filter drops
 * others): the pair that both want most, of two pairs alike the first by its name. Throws BACKEND_MISMATCH.
 */
export function meet(backends: readonly Backend[], peer: NodeLease): Meeting {
  const [best] = meetings({ backends }, peer);
  if (best !== undefined) return best;
  throw noMeeting(backends, peer);
}

/** Why the two cannot meet. */
export function noMeeting(backends: readonly Backend[], peer: NodeLease): FlatnetError {
  const ours = backends.map(({ name }) => name).join(' and ');
  const theirs = peer.offers.map(describeOffer).join(' and ');
  return new FlatnetError(`node ${peer.node} has backend ${theirs}, but this node has ${ours}`, {
    code: 'BACKEND_MISMATCH',
    hint: 'give all nodes the same network.Backend',
  });
}

/** What a node has to choose among. */
export interface Choice {
  /** The wanted one first. */
  readonly backends: readonly Backend[];
  /** Set up, so that peers can send by it, but not yet sent by where there is another. */
  readonly held?: Backend;
}

/** All in which the two could meet: the one that `meet` answers first, the one that is held back last. */
export function meetings({ backends, held }: Choice, peer: NodeLease): Meeting[] {
  const found: (Meeting & { rank: number })[] = [];
  for (const [here, backend] of backends.entries()) {
    const there = peer.offers.findIndex((offer) => offer.type === backend.type && backend.accepts(offer));
    const offer = peer.offers[there];
    if (offer !== undefined) found.push({ backend, offer, rank: here + there });
  }
  const isHeld = ({ backend }: Meeting): number => (backend === held ? 1 : 0);
  return found.sort(
    (a, b) => isHeld(a) - isHeld(b) || a.rank - b.rank || (a.backend.name < b.backend.name ? -1 : 1),
  );
}

/** With what tells it from another of its type. */
function describeOffer({ type, data }: Offer): string {
  const known = [...data.values()].filter((each) => each !== null && each !== undefined);
  return known.length === 0 ? type : `${type} ${JSON.stringify(known[0]).slice(0, 100)}`;
}
