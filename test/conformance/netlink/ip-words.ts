import type { FdbEntry, Link, Neighbour, NextHop, Route, Rule } from '../../../src/kernel/netlink/objects.ts';
import type { Address } from '../../../src/kernel/netlink/objects.ts';

// Our objects in the words of `ip -j -d -N` and `bridge -j`, and the fields of theirs that we have.

type Json = Readonly<Record<string, unknown>>;
export type Names = (index: number) => string | undefined;

function pick(from: unknown, keys: readonly string[]): Json {
  const object = (from ?? {}) as Json;
  return Object.fromEntries(keys.filter((key) => object[key] !== undefined).map((key) => [key, object[key]]));
}

function defined(object: Json): Json {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));
}

const PORT_KEYS = [
  'hairpin',
  'learning',
  'flood',
  'mcast_flood',
  'bcast_flood',
  'isolated',
  'neigh_suppress',
];
const DATA_KEYS = [
  'id',
  'local',
  'local6',
  'link',
  'port',
  'learning',
  'gbp',
  'ageing_time',
  'vlan_filtering',
];

export function linkOfIp(theirs: Json): Json {
  const info = theirs['linkinfo'] as Json | undefined;
  const kind = info?.['info_kind'];
  const port = info?.['info_slave_kind'] === 'bridge' ? info['info_slave_data'] : undefined;
  return {
    ...pick(theirs, ['ifindex', 'ifname', 'mtu', 'operstate', 'address', 'master', 'ifalias', 'txqlen']),
    up: (theirs['flags'] as string[]).includes('UP'),
    ...defined({ kind, port: port === undefined ? undefined : pick(port, PORT_KEYS) }),
    ...(kind === 'vxlan' || kind === 'bridge' ? { data: pick(info?.['info_data'], DATA_KEYS) } : {}),
  };
}

export function linkToIp(link: Link, names: Names): Json {
  return defined({
    ifindex: link.index,
    ifname: link.name,
    mtu: link.mtu,
    operstate: link.operState.toUpperCase(),
    address: link.mac?.toString(),
    master: link.master === undefined ? undefined : names(link.master),
    ifalias: link.alias,
    txqlen: link.txQueueLength,
    up: link.up,
    kind: link.kind,
    port: link.port && {
      hairpin: link.port.hairpin,
      learning: link.port.learning,
      flood: link.port.unicastFlood,
      mcast_flood: link.port.multicastFlood,
      bcast_flood: link.port.broadcastFlood,
      isolated: link.port.isolated,
      neigh_suppress: link.port.neighbourSuppression,
    },
    data: link.vxlan ? vxlanToIp(link.vxlan, names) : bridgeToIp(link.bridge),
  });
}

function vxlanToIp(vxlan: NonNullable<Link['vxlan']>, names: Names): Json {
  return defined({
    id: vxlan.vni,
    [vxlan.local?.family === 6 ? 'local6' : 'local']: vxlan.local?.toString(),
    link: vxlan.parent === undefined ? undefined : names(vxlan.parent),
    port: vxlan.port,
    learning: vxlan.learning,
    gbp: vxlan.gbp ? true : undefined,
  });
}

function bridgeToIp(bridge: Link['bridge']): Json | undefined {
  return bridge && { ageing_time: bridge.ageingSeconds * 100, vlan_filtering: Number(bridge.vlanFiltering) };
}

export function addressesOfIp(theirs: Json): Json[] {
  return (theirs['addr_info'] as Json[]).map((info) => ({
    ifname: theirs['ifname'],
    ...pick(info, ['local', 'prefixlen', 'address', 'broadcast', 'label', 'scope']),
  }));
}

export function addressToIp(address: Address, names: Names): Json {
  return defined({
    ifname: names(address.link),
    local: address.ip.toString(),
    prefixlen: address.prefixLength,
    address: address.peer?.toString(),
    broadcast: address.broadcast?.toString(),
    label: address.label,
    scope: String(address.scope),
  });
}

export function routeOfIp(theirs: Json): Json {
  const metrics = (theirs['metrics'] as Json[] | undefined)?.[0];
  const hops = theirs['nexthops'] as Json[] | undefined;
  return {
    ...pick(theirs, [
      'dst',
      'type',
      'table',
      'protocol',
      'scope',
      'dev',
      'gateway',
      'via',
      'prefsrc',
      'metric',
    ]),
    ...pick(metrics, ['mtu']),
    onlink: (theirs['flags'] as string[]).includes('onlink'),
    ...(hops === undefined ? {} : { hops: hops.map((hop) => pick(hop, ['gateway', 'dev', 'weight'])) }),
  };
}

/** RTN_UNICAST is 1. */
const TYPES: readonly Route['type'][] = [
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
];

export function routeToIp(route: Route, names: Names): Json {
  const { destination, gateway } = route;
  const host = destination.prefixLength === (destination.family === 4 ? 32 : 128);
  const prefix = destination.prefixLength === 0 ? 'default' : destination.toString();
  const sameFamily = gateway === undefined || gateway.family === destination.family;
  const name = (hop: NextHop): string | undefined => (hop.link === undefined ? undefined : names(hop.link));
  return defined({
    dst: host ? destination.ip.toString() : prefix,
    type: String(TYPES.indexOf(route.type) + 1),
    table: String(route.table),
    protocol: String(route.protocol),
    scope: String(route.scope),
    dev: name(route),
    gateway: sameFamily ? gateway?.toString() : undefined,
    via: sameFamily ? undefined : { family: 'inet6', host: gateway.toString() },
    prefsrc: route.source?.toString(),
    metric: route.metric,
    mtu: route.mtu,
    onlink: route.onlink,
    hops: route.nextHops?.map((hop) =>
      defined({ gateway: hop.gateway?.toString(), dev: name(hop), weight: hop.weight }),
    ),
  });
}

export function neighbourOfIp(theirs: Json): Json {
  return {
    ...pick(theirs, ['dst', 'dev', 'lladdr']),
    state: (theirs['state'] as string[])[0]?.toLowerCase(),
  };
}

export function neighbourToIp(neighbour: Neighbour, names: Names): Json {
  return defined({
    dst: neighbour.ip.toString(),
    dev: names(neighbour.link),
    lladdr: neighbour.mac?.toString(),
    state: neighbour.state,
  });
}

export function fdbOfIp(theirs: Json): Json {
  return {
    ...pick(theirs, ['mac', 'ifname', 'dst', 'master']),
    self: (theirs['flags'] as string[]).includes('self'),
  };
}

export function fdbToIp(entry: FdbEntry, names: Names): Json {
  return defined({
    mac: entry.mac.toString(),
    ifname: names(entry.link),
    dst: entry.destination?.toString(),
    master: entry.master === undefined ? undefined : names(entry.master),
    self: entry.self,
  });
}

export function ruleOfIp(theirs: Json): Json {
  return {
    ...pick(theirs, [
      'priority',
      'src',
      'srclen',
      'dst',
      'dstlen',
      'fwmark',
      'fwmask',
      'iif',
      'oif',
      'table',
    ]),
    ...pick(theirs, ['suppress_prefixlen']),
    not: theirs['not'] !== undefined,
  };
}

function hex(value: number | undefined): string | undefined {
  return value === undefined ? undefined : `0x${value.toString(16)}`;
}

export function ruleToIp(rule: Rule): Json {
  return defined({
    priority: rule.priority,
    src: rule.source?.ip.toString() ?? 'all',
    srclen: rule.source?.prefixLength,
    dst: rule.destination?.ip.toString(),
    dstlen: rule.destination?.prefixLength,
    fwmark: hex(rule.mark),
    fwmask: hex(rule.mask),
    iif: rule.inputLink,
    oif: rule.outputLink,
    table: String(rule.table),
    suppress_prefixlen: rule.suppressPrefixLength,
    not: rule.invert,
  });
}

/** Objects as lines in an order that depends on nothing but their fields. */
export function sorted(objects: readonly unknown[]): string[] {
  return objects.map((one) => JSON.stringify(one, (_key, value: unknown) => ordered(value))).sort();
}

function ordered(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a.localeCompare(b)));
}
