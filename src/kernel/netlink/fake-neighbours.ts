import { ERRNO, errnoError } from '../libc/errno.ts';
import { showFdb, showNeighbour } from './describe.ts';
import type { FakeLinks } from './fake-links.ts';
import type { FdbEntry, FdbKey, Neighbour, NeighbourKey, NewFdbEntry, NewNeighbour } from './objects.ts';
import type { NeighbourFilter } from './route-kernel.ts';

/** The ARP, NDP and forwarding tables of one namespace of the fake. */
export class FakeNeighbours {
  readonly #links: FakeLinks;
  #neighbours: Neighbour[] = [];
  #fdb: FdbEntry[] = [];

  constructor(links: FakeLinks) {
    this.#links = links;
  }

  list(filter: NeighbourFilter): Neighbour[] {
    return this.#neighbours.filter(
      (one) =>
        one.proxy === (filter.proxy === true) &&
        (filter.link ?? one.link) === one.link &&
        (filter.family ?? one.ip.family) === one.ip.family,
    );
  }

  set(wanted: NewNeighbour): Neighbour {
    this.#links.get(wanted.link, `set neighbour ${showNeighbour(wanted)}`);
    const proxy = wanted.proxy === true;
    const entry: Neighbour = { ...wanted, proxy, state: proxy ? 'none' : (wanted.state ?? 'permanent') };
    this.#neighbours = [...this.#neighbours.filter((one) => !sameNeighbour(one, entry)), entry];
    return entry;
  }

  remove(key: NeighbourKey): Neighbour {
    const doing = `delete neighbour ${showNeighbour(key)}`;
    this.#links.get(key.link, doing);
    const gone = this.#neighbours.find((one) => sameNeighbour(one, key));
    if (gone === undefined) throw errnoError(doing, ERRNO.ENOENT);
    this.#neighbours = this.#neighbours.filter((one) => one !== gone);
    return gone;
  }

  fdb(link: number | undefined): FdbEntry[] {
    return this.#fdb.filter((entry) => (link ?? entry.link) === entry.link);
  }

  setFdb(wanted: NewFdbEntry): FdbEntry {
    const doing = `set ${showFdb(wanted)}`;
    const link = this.#links.get(wanted.link, doing);
    const { table = 'self', ...rest } = wanted;
    const self = table === 'self';
    if (!self && link.master === undefined) throw errnoError(doing, ERRNO.EOPNOTSUPP);
    if (self && link.kind === 'vxlan' && wanted.destination === undefined) {
      throw errnoError(doing, ERRNO.EINVAL);
    }
    const master = self || link.master === undefined ? {} : { master: link.master };
    const entry: FdbEntry = { ...rest, ...master, self, state: wanted.state ?? 'permanent' };
    this.#fdb = [...this.#fdb.filter((one) => !takesThePlaceOf(entry, one)), entry];
    return entry;
  }

  removeFdb(key: FdbKey): FdbEntry {
    const doing = `delete ${showFdb(key)}`;
    this.#links.get(key.link, doing);
    const gone = this.#fdb.find(
      (one) =>
        one.link === key.link &&
        one.self === ((key.table ?? 'self') === 'self') &&
        one.mac.equals(key.mac) &&
        (key.destination === undefined || one.destination?.equals(key.destination) === true),
    );
    if (gone === undefined) throw errnoError(doing, ERRNO.ENOENT);
    this.#fdb = this.#fdb.filter((one) => one !== gone);
    return gone;
  }

  /** The link was switched off, or is gone: its ARP and NDP entries go, and with it its forwarding entries too. */
  flush(link: number, gone: boolean): Neighbour[] {
    const flushed = this.#neighbours.filter((one) => one.link === link);
    this.#neighbours = this.#neighbours.filter((one) => one.link !== link);
    if (gone) this.#fdb = this.#fdb.filter((one) => one.link !== link && one.master !== link);
    return flushed;
  }
}

function sameNeighbour(one: Neighbour, key: NeighbourKey): boolean {
  return one.link === key.link && one.ip.equals(key.ip) && one.proxy === (key.proxy === true);
}

/** The all-zero and multicast MACs of a VXLAN device have several destinations, every other MAC one. */
function takesThePlaceOf(entry: FdbEntry, other: FdbEntry): boolean {
  const same = other.link === entry.link && other.self === entry.self && other.mac.equals(entry.mac);
  const [first = 0] = entry.mac.bytes;
  const several = (first & 1) === 1 || entry.mac.bytes.every((byte) => byte === 0);
  if (!several || entry.destination === undefined) return same;
  return same && other.destination?.equals(entry.destination) === true;
}
