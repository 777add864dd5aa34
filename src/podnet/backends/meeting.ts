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
  let best: (Meeting & { rank: number }) | undefined;
  for (const [here, backend] of backends.entries()) {
    for (const [there, offer] of peer.offers.entries()) {
      if (offer.type !== backend.type || !backend.accepts(offer)) continue;
      const rank = here + there;
      const better =
        best === undefined || rank < best.rank || (rank === best.rank && backend.name < best.backend.name);
      if (better) best = { backend, offer, rank };
    }
  }
  if (best !== undefined) return best;
  const ours = backends.map(({ name }) => name).join(' and ');
  const theirs = peer.offers.map(describeOffer).join(' and ');
  throw new FlatnetError(`node ${peer.node} has backend ${theirs}, but this node has ${ours}`, {
    code: 'BACKEND_MISMATCH',
    hint: 'give all nodes the same network.Backend',
  });
}

/** With what tells it from another of its type. */
function describeOffer({ type, data }: Offer): string {
  const known = [...data.values()].filter((each) => each !== null && each !== undefined);
  return known.length === 0 ? type : `${type} ${JSON.stringify(known[0]).slice(0, 100)}`;
}
