import type { Link, RouteEvent } from '../kernel/netlink/objects.ts';
import { Cidr } from '../net/cidr.ts';
import { ROUTE_PROTOCOL } from './backends/kernel-entries.ts';
import { entryKey, type Entry } from './backends/entry.ts';

/** `repair`: something of ours is not as it should be; `underlay`: what carries us has changed. */
export type Meaning = 'none' | 'repair' | 'underlay';

/**
 * Tells events that concern the pod network from all others, its own doing among them: those leave the kernel as it
 * is desired, and so mean nothing.
 */
export class EventFilter {
  readonly #desired: (key: string) => Entry | undefined;
  #devices = new Map<number, string>();
  #underlay: { index: number; mtu: number; up: boolean } | undefined;

  constructor(desired: (key: string) => Entry | undefined) {
    this.#desired = desired;
  }

  /**
   * Called after each reading of the kernel: events name devices by index only. `underlay` when what carries us is
   * other than was known: the reading may be ahead of the event, which then tells nothing new any more.
   */
  learnDevices(
    links: readonly Link[],
    devices: readonly string[],
    underlay: string | undefined,
  ): 'none' | 'underlay' {
    this.#devices = new Map(
      links.filter(({ name }) => devices.includes(name)).map(({ index, name }) => [index, name]),
    );
    const link = links.find(({ name }) => name === underlay);
    if (link === undefined) return 'none';
    const { index, mtu, up } = link;
    const before = this.#underlay;
    this.#underlay = { index, mtu, up };
    return before === undefined || (before.index === index && before.mtu === mtu && before.up === up)
      ? 'none'
      : 'underlay';
  }

  judge(event: RouteEvent): Meaning {
    switch (event.kind) {
      case 'resync':
        return 'underlay';
      case 'link':
        return this.#judgeLink(event.action, event.link);
      case 'address': {
        const { link, ip, prefixLength } = event.address;
        if (link === this.#underlay?.index) return 'underlay';
        const device = this.#devices.get(link);
        return device !== undefined &&
          event.action === 'delete' &&
          prefixLength === (ip.family === 4 ? 32 : 128)
          ? this.#wanted({ kind: 'address', device, address: new Cidr(ip, prefixLength) })
          : 'none';
      }
      case 'route': {
        const { route, action } = event;
        const desired = this.#desired(`route ${route.destination.toString()}`);
        if (desired === undefined || route.table !== 254) return 'none';
        // Replacing our route is as good as deleting it; adding a worse one beside it is not.
        const replaced =
          action === 'set' && route.protocol !== ROUTE_PROTOCOL && isDefaultMetric(route.metric);
        return (action === 'delete' && route.protocol === ROUTE_PROTOCOL) || replaced ? 'repair' : 'none';
      }
      case 'neighbour': {
        const device = this.#devices.get(event.neighbour.link);
        const desired =
          device === undefined
            ? undefined
            : this.#desired(`neighbour ${event.neighbour.ip.toString()} dev ${device}`);
        if (desired?.kind !== 'neighbour') return 'none';
        return event.action === 'delete' || event.neighbour.mac?.equals(desired.mac) !== true
          ? 'repair'
          : 'none';
      }
      case 'fdb': {
        const device = this.#devices.get(event.entry.link);
        const desired =
          device === undefined ? undefined : this.#desired(`fdb ${event.entry.mac.toString()} dev ${device}`);
        if (desired?.kind !== 'fdb') return 'none';
        return event.action === 'delete' || event.entry.destination?.equals(desired.via) !== true
          ? 'repair'
          : 'none';
      }
      case 'rule':
        return 'none';
      default:
        return 'none';
    }
  }

  #judgeLink(action: 'set' | 'delete', link: Link): Meaning {
    if (link.index === this.#underlay?.index) {
      const { mtu, up } = this.#underlay;
      if (action === 'set' && link.mtu === mtu && link.up === up) return 'none';
      this.#underlay = { index: link.index, mtu: link.mtu, up: link.up };
      return 'underlay';
    }
    const desired = this.#desired(`link ${link.name}`);
    if (desired?.kind !== 'link') return 'none';
    if (action === 'delete') return this.#devices.has(link.index) ? 'repair' : 'none';
    const asWanted =
      link.up &&
      link.mtu === desired.mtu &&
      // A TUN device has no carrier when its worker is gone.
      (desired.type !== 'udp' || link.operState !== 'down') &&
      (desired.type !== 'vxlan' || link.mac?.equals(desired.mac) === true) &&
      (desired.type !== 'ipip' || link.ipip?.local?.equals(desired.local) === true);
    return asWanted ? 'none' : 'repair';
  }

  #wanted(entry: Entry): Meaning {
    return this.#desired(entryKey(entry)) === undefined ? 'none' : 'repair';
  }
}

/** IPv4 routes without metric, and IPv6 routes with the one that the kernel gives. */
const isDefaultMetric = (metric: number | undefined): boolean =>
  metric === undefined || metric === 0 || metric === 1024;
