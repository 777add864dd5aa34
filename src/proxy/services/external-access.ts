import type { Service } from 'kubernetes-types/core/v1.js';
import { Cidr } from '../../net/cidr.ts';
import { Ip, type IpFamily } from '../../net/ip.ts';
import type { ProblemList } from './problem.ts';
import { specialKind } from './special-address.ts';

/** By what addresses, beside its ClusterIP, a Service is reached in one address family. In canonical form. */
export interface ExternalAccess {
  readonly externalIps: readonly string[];
  /** Ingress addresses of a load balancer that leaves the destination as it is (ipMode VIP). */
  readonly loadBalancerIps: readonly string[];
  /** Prefixes that may use the load balancer's addresses; undefined: everybody; empty: nobody. */
  readonly sourceRanges: readonly string[] | undefined;
}

type ByFamily<T> = Readonly<Record<IpFamily, T>>;

/** Most Services have nothing of this, and share it. */
const EMPTY: readonly string[] = [];
const NO_ACCESS: ExternalAccess = { externalIps: EMPTY, loadBalancerIps: EMPTY, sourceRanges: undefined };
const NOT_AT_ALL: ByFamily<ExternalAccess> = { 4: NO_ACCESS, 6: NO_ACCESS };

/** Whether externalTrafficPolicy means anything for the Service: ExternallyAccessible in pkg/api/v1/service. */
export function isExternallyAccessible({ spec }: Service): boolean {
  const type = spec?.type ?? 'ClusterIP';
  if (type === 'LoadBalancer' || type === 'NodePort') return true;
  return type === 'ClusterIP' && (spec?.externalIPs?.length ?? 0) > 0;
}

/** `clusterAddresses` cannot be external ones as well. */
export function readExternalAccess(
  service: Service,
  clusterAddresses: readonly { readonly address: string }[],
  problems: ProblemList,
): ByFamily<ExternalAccess> {
  const spec = service.spec ?? {};
  const ingress = spec.type === 'LoadBalancer' ? (service.status?.loadBalancer?.ingress ?? []) : [];
  const wantsExternal = (spec.externalIPs?.length ?? 0) > 0;
  if (!wantsExternal && ingress.length === 0) return NOT_AT_ALL;
  const taken = new Set(clusterAddresses.map(({ address }) => address));
  const loadBalancerIps = readLoadBalancerIps(service, taken, problems);
  // An address that is both is guarded by the source ranges: counting as the load balancer's it stays so.
  for (const list of [loadBalancerIps[4], loadBalancerIps[6]]) for (const one of list) taken.add(one);
  const externalIps = readExternalIps(spec.externalIPs ?? EMPTY, taken, problems);
  const sourceRanges = readSourceRanges(spec.loadBalancerSourceRanges ?? EMPTY, problems);
  const of = (family: IpFamily): ExternalAccess => ({
    externalIps: externalIps[family],
    loadBalancerIps: loadBalancerIps[family],
    sourceRanges: sourceRanges[family],
  });
  return { 4: of(4), 6: of(6) };
}

function readExternalIps(
  texts: readonly string[],
  taken: ReadonlySet<string>,
  problems: ProblemList,
): ByFamily<readonly string[]> {
  const found: ByFamily<string[]> = { 4: [], 6: [] };
  for (const [index, text] of texts.entries()) {
    addAddress(found, text, `spec.externalIPs[${index}]`, taken, problems);
  }
  return found;
}

function readLoadBalancerIps(
  service: Service,
  taken: ReadonlySet<string>,
  problems: ProblemList,
): ByFamily<readonly string[]> {
  const found: ByFamily<string[]> = { 4: [], 6: [] };
  if (service.spec?.type !== 'LoadBalancer') return found;
  for (const [index, ingress] of (service.status?.loadBalancer?.ingress ?? []).entries()) {
    // A host name alone: whoever answers there sends to node ports. So does one in the mode Proxy.
    const { ip, ipMode } = ingress as typeof ingress & { readonly ipMode?: string | null };
    if (ip === undefined || ip === '') continue;
    const field = `status.loadBalancer.ingress[${index}]`;
    if (ipMode === 'Proxy') continue;
    if (typeof ipMode === 'string' && ipMode !== 'VIP') {
      problems.add(`${field}.ipMode`, `"${ipMode}" is not one of VIP, Proxy`);
    } else addAddress(found, ip, `${field}.ip`, taken, problems);
  }
  return found;
}

function addAddress(
  found: ByFamily<string[]>,
  text: string,
  field: string,
  taken: ReadonlySet<string>,
  problems: ProblemList,
): void {
  const ip = Ip.tryParse(text);
  if (ip === undefined) return problems.add(field, `"${text}" is not an IP address`);
  const address = ip.toString();
  const special = specialKind(address);
  if (special !== undefined) return problems.add(field, `"${text}" is ${special}`);
  // Twice is once: an external address may well be the load balancer's too.
  if (taken.has(address) || found[ip.family].includes(address)) return;
  found[ip.family].push(address);
}

/**
 * Without ranges of its own a family is open to everybody, as kube-proxy has it. But a range that cannot be read may
 * have been meant for it: then nobody comes in rather than everybody.
 */
function readSourceRanges(
  texts: readonly string[],
  problems: ProblemList,
): ByFamily<readonly string[] | undefined> {
  const found: ByFamily<string[]> = { 4: [], 6: [] };
  const unread = { 4: false, 6: false };
  for (const [index, text] of texts.entries()) {
    // Validation of the API lets blanks around a range pass.
    const range = Cidr.tryParse(text.trim());
    if (range === undefined) {
      unread[text.includes(':') ? 6 : 4] = true;
      problems.add(
        `spec.loadBalancerSourceRanges[${index}]`,
        `"${text}" is not a network in CIDR notation; nobody is admitted by it`,
      );
    } else if (!found[range.family].includes(range.toString())) found[range.family].push(range.toString());
  }
  const none = texts.length > 0 && found[4].length + found[6].length === 0;
  const of = (family: IpFamily): readonly string[] | undefined => {
    if (found[family].length > 0) return found[family];
    return none || unread[family] ? EMPTY : undefined;
  };
  return { 4: of(4), 6: of(6) };
}
