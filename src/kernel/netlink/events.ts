import type { Socket } from 'node:net';
import { retry } from '../../timing/backoff.ts';
import { Netns } from '../netns/netns.ts';
import { decodeAddress } from './address-codec.ts';
import { RTM, RTNLGRP } from './constants.ts';
import { decodeLink } from './link-codec.ts';
import { decodeMessages, type NetlinkMessage } from './message.ts';
import { decodeFdbEntry, decodeNeighbour } from './neighbour-codec.ts';
import type { RouteEvent, RouteEventGroup } from './objects.ts';
import { decodeRoute } from './route-codec.ts';
import type { WatchOptions } from './route-kernel.ts';
import { readableNetlink } from './readable.ts';
import { decodeRule } from './rule-codec.ts';
import { NETLINK_ROUTE, NetlinkSocket } from './socket.ts';

const GROUPS: Readonly<Record<RouteEventGroup, readonly number[]>> = {
  link: [RTNLGRP.LINK],
  address: [RTNLGRP.IPV4_IFADDR, RTNLGRP.IPV6_IFADDR],
  route: [RTNLGRP.IPV4_ROUTE, RTNLGRP.IPV6_ROUTE],
  neighbour: [RTNLGRP.NEIGH],
  rule: [RTNLGRP.IPV4_RULE, RTNLGRP.IPV6_RULE],
};

const DEFAULT_RECEIVE_BUFFER = 4 * 1024 * 1024;
/** Flag of rtm_flags in <linux/rtnetlink.h>: an entry of the route cache, not of the table. */
const RTM_F_CLONED = 0x200;

/**
 * Calls `onEvent` for every change in the namespace (descriptor `netns`) from now on. The event loop sleeps in epoll
 * on the socket; nothing polls. When the kernel dropped events (ENOBUFS) a new socket is opened first, then `resync`
 * is told: what is read after that misses nothing.
 */
export function watchRouteEvents(netns: number, options: WatchOptions): void {
  const { signal, onEvent } = options;
  if (signal.aborted) return;
  const own = Netns.open(`/proc/self/fd/${netns}`);
  let socket = open(own, options);
  const attach = (): void => {
    const current = socket;
    current.on('data', (chunk: Buffer) => {
      const events = decodeEvents(chunk);
      if (events === undefined) current.destroy(new Error('EBADMSG'));
      for (const event of events ?? []) if (!signal.aborted) onEvent(event);
    });
    current.once('error', (error: NodeJS.ErrnoException) => void reopen(error.code ?? error.message));
  };
  const reopen = async (reason: string): Promise<void> => {
    if (signal.aborted) return;
    try {
      await retry(async () => await Promise.resolve((socket = open(own, options))), { signal });
    } catch {
      // Only when the signal was aborted meanwhile.
      return;
    }
    if (signal.aborted) {
      socket.destroy();
      return;
    }
    attach();
    onEvent({ kind: 'resync', reason });
  };
  attach();
  signal.addEventListener(
    'abort',
    () => {
      socket.destroy();
      own.close();
    },
    { once: true },
  );
}

/** Undefined for a datagram that cannot be read. */
function decodeEvents(datagram: Buffer): RouteEvent[] | undefined {
  try {
    return decodeMessages(datagram).flatMap((message) => decodeRouteEvent(message) ?? []);
  } catch {
    return undefined;
  }
}

/** One message of a multicast group as an event; undefined for those that are none of ours. */
function decodeRouteEvent(message: NetlinkMessage): RouteEvent | undefined {
  const { type, body } = message;
  switch (type) {
    case RTM.NEWLINK:
    case RTM.DELLINK: {
      const link = decodeLink(body);
      return link && { kind: 'link', action: type === RTM.NEWLINK ? 'set' : 'delete', link };
    }
    case RTM.NEWADDR:
    case RTM.DELADDR: {
      const address = decodeAddress(body);
      return address && { kind: 'address', action: type === RTM.NEWADDR ? 'set' : 'delete', address };
    }
    case RTM.NEWROUTE:
    case RTM.DELROUTE: {
      if ((body.readUInt32LE(8) & RTM_F_CLONED) !== 0) return undefined;
      const route = decodeRoute(body);
      return route && { kind: 'route', action: type === RTM.NEWROUTE ? 'set' : 'delete', route };
    }
    case RTM.NEWNEIGH:
    case RTM.DELNEIGH: {
      const action = type === RTM.NEWNEIGH ? 'set' : 'delete';
      const neighbour = decodeNeighbour(body);
      if (neighbour !== undefined) return { kind: 'neighbour', action, neighbour };
      const entry = decodeFdbEntry(body);
      return entry && { kind: 'fdb', action, entry };
    }
    case RTM.NEWRULE:
    case RTM.DELRULE: {
      const rule = decodeRule(body);
      return rule && { kind: 'rule', action: type === RTM.NEWRULE ? 'set' : 'delete', rule };
    }
    default:
      return undefined;
  }
}

function open(netns: Netns, options: WatchOptions): Socket {
  const netlink = NetlinkSocket.open(NETLINK_ROUTE, {
    netns: netns.fd,
    nonblocking: true,
    receiveBufferBytes: options.receiveBufferBytes ?? DEFAULT_RECEIVE_BUFFER,
  });
  for (const group of new Set(options.groups.flatMap((name) => GROUPS[name]))) netlink.joinGroup(group);
  return readableNetlink(netlink);
}
