import { FlatnetError } from '../errors/flatnet-error.ts';
import type { Address, Link, Route } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Ip } from '../net/ip.ts';

/** What a node's kernel says that the choice of its address depends on. */
export interface NodeFacts {
  readonly links: readonly Link[];
  readonly addresses: readonly Address[];
  /** Of the main table. */
  readonly routes: readonly Route[];
  /** By which a packet to the address that was asked for leaves; undefined where none was, or there is no way. */
  readonly reach?: Route | undefined;
}

/** Reads them; `canReach` is looked up as `ip route get` does, policy routing included. */
export function readNodeFacts(kernel: RouteKernel, canReach?: Ip): NodeFacts {
  return {
    links: kernel.links(),
    addresses: kernel.addresses(),
    routes: kernel.routes({ table: 254 }),
    reach: canReach === undefined ? undefined : routeTo(kernel, canReach),
  };
}

function routeTo(kernel: RouteKernel, ip: Ip): Route | undefined {
  try {
    return kernel.routeTo(ip);
  } catch (error) {
    // ENETUNREACH, EHOSTUNREACH: no way; EACCES, EINVAL: prohibit and blackhole routes.
    const none = ['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL'];
    if (error instanceof FlatnetError && none.includes(error.code)) return undefined;
    throw error;
  }
}
