import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Ip, IpFamily } from '../../net/ip.ts';
import { decodeAddress, encodeAddressQuery } from './address-codec.ts';
import { RTM } from './constants.ts';
import { decodeLink, encodeLinkReference } from './link-codec.ts';
import type { NetlinkMessage } from './message.ts';
import { decodeFdbEntry, decodeNeighbour, encodeFdbQuery, encodeNeighbourQuery } from './neighbour-codec.ts';
import type { Address, FdbEntry, Link, Neighbour, Route, Rule } from './objects.ts';
import { decodeRoute, encodeRouteLookup, encodeRouteQuery } from './route-codec.ts';
import type { NeighbourFilter, RouteFilter } from './route-kernel.ts';
import { decodeRule, encodeRuleQuery } from './rule-codec.ts';
import type { NetlinkSocket } from './socket.ts';

/** Reads what is in the kernel: the first half of `RouteKernel`. */
export class RouteObserver {
  protected readonly socket: NetlinkSocket;

  constructor(socket: NetlinkSocket) {
    this.socket = socket;
  }

  links(): Link[] {
    const body = encodeLinkReference(0);
    return collect(this.socket.dump({ type: RTM.GETLINK, body }, 'list links'), RTM.NEWLINK, decodeLink);
  }

  link(reference: number | string): Link | undefined {
    const request = { type: RTM.GETLINK, body: encodeLinkReference(reference) };
    const answer = absent(['ENODEV'], () => this.socket.request(request, `read link ${reference}`));
    return collect(answer ?? [], RTM.NEWLINK, decodeLink)[0];
  }

  addresses(filter: { readonly link?: number; readonly family?: IpFamily } = {}): Address[] {
    const request = { type: RTM.GETADDR, body: encodeAddressQuery(filter.family, filter.link) };
    // A filter for a link that is gone is an error to the kernel and an empty list to everybody else.
    const answer = absent(['ENODEV'], () => this.socket.dump(request, 'list addresses'));
    return collect(answer ?? [], RTM.NEWADDR, decodeAddress);
  }

  routes(filter: RouteFilter = {}): Route[] {
    return families(filter.family).flatMap((family) => {
      const request = { type: RTM.GETROUTE, body: encodeRouteQuery(family, filter) };
      // ENOENT: the table does not exist before its first route; ENODEV: the link of the filter is gone.
      const answer = absent(['ENOENT', 'ENODEV'], () =>
        this.socket.dump(request, `list IPv${family} routes`),
      );
      return collect(answer ?? [], RTM.NEWROUTE, decodeRoute);
    });
  }

  routeTo(destination: Ip): Route {
    const doing = `look up the route to ${destination.toString()}`;
    const request = { type: RTM.GETROUTE, body: encodeRouteLookup(destination) };
    const route = collect(this.socket.request(request, doing), RTM.NEWROUTE, decodeRoute)[0];
    if (route === undefined) throw new FlatnetError(`${doing}: no answer`, { code: 'EBADMSG' });
    return route;
  }

  neighbours(filter: NeighbourFilter = {}): Neighbour[] {
    return families(filter.family).flatMap((family) => {
      const body = encodeNeighbourQuery(family, filter.link, filter.proxy === true);
      const doing = `list IPv${family} neighbours`;
      const answer = absent(['ENODEV'], () => this.socket.dump({ type: RTM.GETNEIGH, body }, doing));
      // The proxy table is not filtered by the kernel.
      return collect(answer ?? [], RTM.NEWNEIGH, decodeNeighbour).filter(
        (found) => filter.link === undefined || found.link === filter.link,
      );
    });
  }

  fdb(filter: { readonly link?: number } = {}): FdbEntry[] {
    const request = { type: RTM.GETNEIGH, body: encodeFdbQuery(filter.link) };
    const answer = absent(['ENODEV'], () => this.socket.dump(request, 'list forwarding entries'));
    return collect(answer ?? [], RTM.NEWNEIGH, decodeFdbEntry).filter(
      (entry) => filter.link === undefined || entry.link === filter.link,
    );
  }

  rules(family?: IpFamily): Rule[] {
    return families(family).flatMap((one) => {
      const request = { type: RTM.GETRULE, body: encodeRuleQuery(one) };
      return collect(this.socket.dump(request, `list IPv${one} rules`), RTM.NEWRULE, decodeRule);
    });
  }
}

function families(family: IpFamily | undefined): readonly IpFamily[] {
  return family === undefined ? [4, 6] : [family];
}

/** What the messages of this type say, as far as it can be understood. */
export function collect<T>(
  messages: readonly NetlinkMessage[],
  type: number,
  decode: (body: Buffer) => T | undefined,
): T[] {
  return messages.flatMap((message) => {
    const found = message.type === type ? decode(message.body) : undefined;
    return found === undefined ? [] : [found];
  });
}

function absent<T>(codes: readonly string[], action: () => T): T | undefined {
  try {
    return action();
  } catch (error) {
    if (error instanceof FlatnetError && codes.includes(error.code)) return undefined;
    throw error;
  }
}
