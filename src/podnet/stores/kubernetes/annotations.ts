import { FlatnetError } from '../../../errors/flatnet-error.ts';
import { Cidr } from '../../../net/cidr.ts';
import { Ip, type IpFamily } from '../../../net/ip.ts';
import type { FamilyLease, NodeLease, Offer } from '../../node-lease.ts';
import { isNoHost } from '../../public-address.ts';
import { parseLeaseJson } from '../lease-json.ts';
import type { Publication } from '../lease-store.ts';
import { ABOUT, isUnmet, OFFERS, readOffers, readUnderlayMtu, writeOffers } from './own-annotations.ts';

/** flannel's default of --kube-annotation-prefix. */
export const ANNOTATION_PREFIX = 'flannel.alpha.coreos.com/';

const MANAGED = `${ANNOTATION_PREFIX}kube-subnet-manager`;
const BACKEND_TYPE = `${ANNOTATION_PREFIX}backend-type`;

/** The annotations of one address family, named as flannel names them. */
const NAMES: Readonly<Record<IpFamily, { data: string; publicIp: string; overwrite: string }>> = {
  4: {
    data: `${ANNOTATION_PREFIX}backend-data`,
    publicIp: `${ANNOTATION_PREFIX}public-ip`,
    overwrite: `${ANNOTATION_PREFIX}public-ip-overwrite`,
  },
  6: {
    data: `${ANNOTATION_PREFIX}backend-v6-data`,
    publicIp: `${ANNOTATION_PREFIX}public-ipv6`,
    overwrite: `${ANNOTATION_PREFIX}public-ipv6-overwrite`,
  },
};

export type Annotations = Readonly<Record<string, string>>;

/** The part of a Node object that its lease is read from. */
export interface AnnotatedNode {
  readonly name: string;
  /** spec.podCIDRs, else spec.podCIDR alone. */
  readonly podCidrs: readonly string[];
  /** metadata.creationTimestamp, milliseconds since 1970. */
  readonly since?: number;
  /** Those of flannel, under its default prefix, and our own only. */
  readonly annotations: Annotations;
}

export interface ReadLease {
  /** Undefined for a node that no flannel-like network manages, and where no family is usable. */
  readonly lease: NodeLease | undefined;
  /** What is wrong with the node, each naming object and field. */
  readonly problems: readonly FlatnetError[];
}

/**
 * Reads another node's lease in the cluster's `networks`. A family that is wrong is left out and reported; the other
 * stays usable.
 */
export function readLease(node: AnnotatedNode, networks: ReadonlyMap<IpFamily, Cidr>): ReadLease {
  if (node.annotations[MANAGED] !== 'true') return { lease: undefined, problems: [] };
  const problems: FlatnetError[] = [];
  const found = new Map<IpFamily, FamilyLease>();
  const data = new Map<IpFamily, unknown>();
  // flannel's udp backend leaves its type out, and what is left out stands here as nothing.
  const named = node.annotations[BACKEND_TYPE];
  const backendType = named === '' ? 'udp' : named;
  for (const [family, network] of networks) {
    try {
      if (backendType === undefined) throw annotationError(node.name, BACKEND_TYPE, 'is missing');
      const podCidr = podCidrOf(node, family, network);
      // Without a pod CIDR yet there is nothing to reach, and nothing wrong.
      if (podCidr === undefined) continue;
      const publicIp = publicIpOf(node, family);
      data.set(family, backendDataOf(node, family));
      found.set(family, { podCidr, publicIp });
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      problems.push(error);
    }
  }
  if (backendType === undefined || found.size === 0) return { lease: undefined, problems };
  const mtu = readUnderlayMtu(node.annotations[ABOUT]);
  return {
    lease: {
      node: node.name,
      offers: readOffers(node.annotations[OFFERS], { type: backendType, data }),
      families: found,
      ...(node.since === undefined ? {} : { since: node.since }),
      ...(mtu === undefined ? {} : { underlayMtu: mtu }),
      ...(isUnmet(node.annotations[ABOUT]) ? { met: false } : {}),
    },
    problems,
  };
}

/**
 * The node's pod CIDR of one family; undefined when none is assigned. Throws INVALID_POD_CIDR naming the node, also
 * when it lies outside the cluster's network: a route for it could take away other traffic.
 */
export function podCidrOf(
  node: Pick<AnnotatedNode, 'name' | 'podCidrs'>,
  family: IpFamily,
  network: Cidr,
): Cidr | undefined {
  const refuse = (what: string, hint?: string): FlatnetError =>
    new FlatnetError(`node ${node.name}: spec.podCIDRs: ${what}`, {
      code: 'INVALID_POD_CIDR',
      ...(hint === undefined ? {} : { hint }),
    });
  for (const text of node.podCidrs) {
    let cidr: Cidr;
    try {
      cidr = Cidr.parseStrict(text);
    } catch (error) {
      throw refuse(error instanceof Error ? error.message : String(error));
    }
    if (cidr.family !== family) continue;
    if (network.contains(cidr)) return cidr;
    const field = family === 4 ? 'network.Network' : 'network.IPv6Network';
    throw refuse(
      `${text} is not within ${field} ${network.toString()}`,
      'make the two agree with --cluster-cidr',
    );
  }
  return undefined;
}

/** What an earlier run of this node has published; what cannot be read any more counts as nothing. */
export function publishedOffer(annotations: Annotations, families: Iterable<IpFamily>): Offer | undefined {
  const type = annotations[BACKEND_TYPE];
  if (type === undefined) return undefined;
  const data = new Map<IpFamily, unknown>();
  for (const family of families) {
    try {
      data.set(family, parseLeaseJson(annotations[NAMES[family].data] ?? 'null'));
    } catch {
      data.set(family, null);
    }
  }
  return { type, data };
}

/** `public-ip-overwrite`: the address that an administrator wants published in place of the interface's. */
export function publicIpOverwrite(node: AnnotatedNode, family: IpFamily): Ip | undefined {
  const text = node.annotations[NAMES[family].overwrite];
  if (text === undefined || text === '') return undefined;
  const ip = Ip.tryParse(text);
  const fault = ip?.family === family ? 'which is no address of a node' : `not an IPv${family} address`;
  if (ip?.family === family && !isNoHost(ip)) return ip;
  throw new FlatnetError(
    `node ${node.name}: annotation ${NAMES[family].overwrite} is ${quote(text)}, ${fault}`,
    {
      code: 'INVALID_PUBLIC_IP',
      hint: 'what would be published without it is; correct the annotation or remove it',
    },
  );
}

/** The annotations that publish a lease, byte for byte as flannel writes them, and our own beside them. */
export function writePublication({ offers, publicIps, about }: Publication): Annotations {
  const [{ type, data }] = offers;
  const annotations: Record<string, string> = { [BACKEND_TYPE]: type, [MANAGED]: 'true' };
  for (const [family, publicIp] of publicIps) {
    // A nil json.RawMessage, which is what flannel has for host-gw, is written as null.
    annotations[NAMES[family].data] = JSON.stringify(data.get(family) ?? null);
    annotations[NAMES[family].publicIp] = publicIp.toString();
  }
  if (offers.length > 1) annotations[OFFERS] = writeOffers(offers);
  if (about !== undefined) annotations[ABOUT] = JSON.stringify(about);
  return annotations;
}

/** null where there is nothing. Throws INVALID_NODE_ANNOTATION. */
function backendDataOf(node: AnnotatedNode, family: IpFamily): unknown {
  const annotation = NAMES[family].data;
  const text = node.annotations[annotation];
  if (text === undefined) return null;
  try {
    return parseLeaseJson(text);
  } catch (cause) {
    throw annotationError(
      node.name,
      annotation,
      `is ${quote(text)}, which is ${(cause as Error).message}`,
      cause,
    );
  }
}

function publicIpOf(node: AnnotatedNode, family: IpFamily): Ip {
  const annotation = NAMES[family].publicIp;
  const text = node.annotations[annotation];
  if (text === undefined) throw annotationError(node.name, annotation, 'is missing');
  const publicIp = parseIp(node.name, annotation, text, family);
  if (isNoHost(publicIp)) {
    throw annotationError(node.name, annotation, `is ${publicIp.toString()}, which is no address of a node`);
  }
  return publicIp;
}

function parseIp(node: string, annotation: string, text: string, family: IpFamily): Ip {
  const ip = Ip.tryParse(text);
  if (ip?.family === family) return ip;
  throw annotationError(node, annotation, `is ${quote(text)}, not an IPv${family} address`);
}

/** Annotations may have a quarter of a megabyte: messages show their beginning. */
const quote = (text: string): string =>
  text.length <= 100
    ? JSON.stringify(text)
    : `${JSON.stringify(text.slice(0, 100))}… (${text.length} characters)`;

function annotationError(node: string, annotation: string, what: string, cause?: unknown): FlatnetError {
  return new FlatnetError(`node ${node}: annotation ${annotation} ${what}`, {
    code: 'INVALID_NODE_ANNOTATION',
    hint: 'the agent or flanneld of that node writes it when it starts',
    cause,
  });
}
