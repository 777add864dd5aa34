import { Ip } from '../net/ip.ts';
import {
  RecordType,
  Rcode,
  type AddressRecord,
  type NameRecord,
  type Question,
  type ResourceRecord,
  type Response,
  type SoaRecord,
} from './record.ts';
import { addressOfReverseName, reverseZoneOf } from './reverse-name.ts';
import type { ServiceNames, ServicePort } from './service-names.ts';
import type { ZoneView } from './zone-view.ts';

/** The version of the Kubernetes DNS specification that is answered by. */
const SCHEMA_VERSION = '1.1.0';
/** Seconds; the specification's own example of the record. */
const SCHEMA_VERSION_TTL = 28_800;
/** Services of type ExternalName that point at each other. */
const MAX_CNAMES = 8;

/** What is to be done with a question. */
export type Verdict =
  | { readonly kind: 'respond'; readonly response: Response }
  /** Not ours: for the upstream servers. */
  | { readonly kind: 'forward' }
  /** An ExternalName that leads out of the zone: `response` holds the CNAMEs, the rest is known upstream. */
  | { readonly kind: 'chase'; readonly response: Response; readonly target: string };

/** Everything that exists at one name; an empty node has names below it only. */
type Node = { readonly records: readonly ResourceRecord[] };

/** Answers a question of class IN by what the zone holds. Pure: no clock, no chance. */
export function answer(question: Pick<Question, 'labels' | 'type'>, view: ZoneView): Verdict {
  const { labels, type } = question;
  if (isInZone(labels, view)) return answerInZone(labels, type, view);
  const ip = addressOfReverseName(labels);
  if (ip === undefined) return { kind: 'forward' };
  return answerReverse(labels, ip, type, view);
}

export function isInZone(labels: readonly string[], view: ZoneView): boolean {
  const start = labels.length - view.zoneLabels.length;
  return start >= 0 && view.zoneLabels.every((label, i) => labels[start + i] === label);
}

function answerInZone(asked: readonly string[], type: number, view: ZoneView): Verdict {
  const chain: ResourceRecord[] = [];
  let labels = asked;
  for (let links = 0; ; links += 1) {
    const node = lookUp(labels, view);
    if (node === undefined) return negative(Rcode.NXDOMAIN, chain, view);
    const alias = node.records.find((record): record is NameRecord => record.type === 'CNAME');
    if (alias === undefined || type === RecordType.CNAME || type === RecordType.ANY) {
      return positive(node, type, chain, view);
    }
    chain.push(alias);
    labels = alias.target.split('.');
    if (!isInZone(labels, view)) {
      return { kind: 'chase', response: authoritative(Rcode.NOERROR, chain), target: alias.target };
    }
    if (links === MAX_CNAMES) {
      return { kind: 'respond', response: authoritative(Rcode.SERVFAIL, []) };
    }
  }
}

function positive(node: Node, type: number, chain: ResourceRecord[], view: ZoneView): Verdict {
  const matching = selectType(node.records, type);
  if (matching.length === 0) return negative(Rcode.NOERROR, chain, view);
  const response = authoritative(Rcode.NOERROR, [...chain, ...matching]);
  return { kind: 'respond', response: { ...response, additionals: additionalsOf(matching, view) } };
}

// RFC 8482 section 4.1: ANY is answered with one of the record sets, so that it is no amplifier.
function selectType(records: readonly ResourceRecord[], type: number): ResourceRecord[] {
  const wanted = type === RecordType.ANY ? records[0] && RecordType[records[0].type] : type;
  return records.filter((record) => RecordType[record.type] === wanted);
}

function negative(rcode: number, chain: readonly ResourceRecord[], view: ZoneView): Verdict {
  const response = authoritative(rcode, chain);
  return { kind: 'respond', response: { ...response, authorities: [soa(view.zone, view)] } };
}

function authoritative(rcode: number, answers: readonly ResourceRecord[]): Response {
  return { rcode, authoritative: true, answers, authorities: [], additionals: [] };
}

function soa(zone: string, view: ZoneView): SoaRecord {
  // The numbers are those of CoreDNS; the minimum is how long a "no" may be kept.
  return {
    type: 'SOA',
    name: zone,
    ttl: view.ttl,
    primary: `ns.dns.${view.zone}`,
    mailbox: `hostmaster.${view.zone}`,
    serial: view.serial,
    refresh: 7200,
    retry: 1800,
    expire: 86_400,
    minimum: view.ttl,
  };
}

/** What stands at a name of the zone; undefined when neither it nor anything below it exists. */
function lookUp(labels: readonly string[], view: ZoneView): Node | undefined {
  const name = labels.join('.');
  const path = labels.slice(0, labels.length - view.zoneLabels.length).reverse();
  const [kind, namespace, service, ...below] = path;
  if (kind === undefined) return { records: [soa(name, view), nameServer(view)] };
  if (kind === 'dns-version' || kind === 'dns') return lookUpFixed(name, path, view);
  if (kind !== 'svc' && kind !== 'pod') return undefined;
  if (namespace === undefined) return { records: [] };
  if (service === undefined) return view.hasNamespace(namespace) ? { records: [] } : undefined;
  if (kind === 'pod') return below.length === 0 ? podNode(name, namespace, service, view) : undefined;
  const names = view.service(namespace, service);
  return names === undefined ? undefined : serviceNode(name, names, below, view);
}

function lookUpFixed(name: string, path: readonly string[], view: ZoneView): Node | undefined {
  switch (path.join('.')) {
    case 'dns-version':
      return { records: [{ type: 'TXT', name, ttl: SCHEMA_VERSION_TTL, texts: [SCHEMA_VERSION] }] };
    case 'dns':
      return { records: [] };
    case 'dns.ns':
      return { records: addressRecords(name, view.nameServerAddresses(), view) };
    default:
      return undefined;
  }
}

function nameServer(view: ZoneView): ResourceRecord {
  return { type: 'NS', name: view.zone, ttl: view.ttl, target: `ns.dns.${view.zone}` };
}

/** `10-244-1-7.default.pod.cluster.local`: the address stands in the name (specification, section 2.6). */
function podNode(name: string, namespace: string, label: string, view: ZoneView): Node | undefined {
  if (!view.hasNamespace(namespace)) return undefined;
  const ip = Ip.tryParse(label.replaceAll('-', '.')) ?? Ip.tryParse(label.replaceAll('-', ':'));
  return ip === undefined ? undefined : { records: addressRecords(name, [ip], view) };
}

function serviceNode(
  name: string,
  names: ServiceNames,
  below: readonly string[],
  view: ZoneView,
): Node | undefined {
  const [first, second] = below;
  if (below.length > 2) return undefined;
  if (first === undefined) return ownNode(name, names, view);
  const protocol = first.startsWith('_') ? first.slice(1) : undefined;
  if (protocol === undefined) {
    const addresses = second === undefined ? names.hosts.get(first) : undefined;
    return addresses === undefined ? undefined : { records: addressRecords(name, addresses, view) };
  }
  const ports = names.ports.filter((port) => port.name !== '' && port.protocol === protocol);
  if (second === undefined) return ports.length === 0 ? undefined : { records: [] };
  const serviceName = name.split('.').slice(2).join('.');
  const named = ports.filter((port) => second === `_${port.name}`);
  return named.length === 0 ? undefined : { records: srvRecords(name, serviceName, named, view) };
}

// As CoreDNS does, the Service's own name has SRV records for all of its ports, unnamed ones too.
function ownNode(name: string, names: ServiceNames, view: ZoneView): Node | undefined {
  if (names.externalName !== undefined) {
    return { records: [{ type: 'CNAME', name, ttl: view.ttl, target: names.externalName }] };
  }
  if (names.addresses.length === 0 && names.hosts.size === 0) return undefined;
  return {
    records: [...addressRecords(name, names.addresses, view), ...srvRecords(name, name, names.ports, view)],
  };
}

function addressRecords(name: string, addresses: readonly Ip[], view: ZoneView): AddressRecord[] {
  return addresses.map((address) => ({
    type: address.family === 4 ? 'A' : 'AAAA',
    name,
    ttl: view.ttl,
    address,
  }));
}

function srvRecords(
  name: string,
  serviceName: string,
  ports: readonly ServicePort[],
  view: ZoneView,
): ResourceRecord[] {
  // Ports of one number and different protocols are one record: no RRset has a record twice (RFC 2181, section 5).
  const targets = new Map(
    ports.map(({ host, port }) => {
      const target = host === undefined ? serviceName : `${host}.${serviceName}`;
      return [`${port} ${target}`, { port, target }];
    }),
  );
  // Equal shares of 100, at least 1: RFC 2782 gives weight 0 only a very small chance.
  const weight = Math.max(1, Math.floor(100 / Math.max(1, targets.size)));
  return [...targets.values()].map(({ port, target }) => ({
    type: 'SRV',
    name,
    ttl: view.ttl,
    priority: 0,
    weight,
    port,
    target,
  }));
}

function additionalsOf(records: readonly ResourceRecord[], view: ZoneView): ResourceRecord[] {
  const targets = records.flatMap((record) =>
    record.type === 'SRV' || record.type === 'NS' ? [record.target] : [],
  );
  return [...new Set(targets)].flatMap((target) => {
    const records = lookUp(target.split('.'), view)?.records ?? [];
    return records.filter((record) => record.type === 'A' || record.type === 'AAAA');
  });
}

function answerReverse(labels: readonly string[], ip: Ip, type: number, view: ZoneView): Verdict {
  const targets = view.pointers(ip);
  const network = view.reverseNetworks.find((network) => network.contains(ip));
  if (targets.length > 0 && (type === RecordType.PTR || type === RecordType.ANY)) {
    const name = labels.join('.');
    const records = targets.map((target) => ({ type: 'PTR' as const, name, ttl: view.ttl, target }));
    return { kind: 'respond', response: authoritative(Rcode.NOERROR, records) };
  }
  if (targets.length === 0 && network === undefined) return { kind: 'forward' };
  const rcode = targets.length > 0 ? Rcode.NOERROR : Rcode.NXDOMAIN;
  const zone = network === undefined ? labels.slice(1).join('.') : reverseZoneOf(network);
  return {
    kind: 'respond',
    response: { ...authoritative(rcode, []), authorities: [soa(zone, view)] },
  };
}
