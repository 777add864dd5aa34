import type { Container, ObjectFieldSelector, Pod, ResourceFieldSelector } from 'kubernetes-types/core/v1.js';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** What the downward API tells a pod beside its own object. */
export interface PodFacts {
  readonly pod: Pod;
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
}

/** The value of `fieldRef` (env) or of a downwardAPI file. Throws FIELD_UNKNOWN naming the path. */
export function fieldValue(reference: ObjectFieldSelector, facts: PodFacts): string {
  const { pod } = facts;
  const path = reference.fieldPath;
  const subscript = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (subscript !== null) {
    const map = subscript[1] === 'labels' ? pod.metadata?.labels : pod.metadata?.annotations;
    return map?.[subscript[2] ?? ''] ?? '';
  }
  const values: Record<string, () => string> = {
    'metadata.name': () => pod.metadata?.name ?? '',
    'metadata.namespace': () => pod.metadata?.namespace ?? '',
    'metadata.uid': () => pod.metadata?.uid ?? '',
    'metadata.labels': () => renderMap(pod.metadata?.labels),
    'metadata.annotations': () => renderMap(pod.metadata?.annotations),
    'spec.nodeName': () => pod.spec?.nodeName ?? '',
    'spec.serviceAccountName': () => pod.spec?.serviceAccountName ?? 'default',
    'status.hostIP': () => facts.hostIps[0] ?? '',
    'status.hostIPs': () => facts.hostIps.join(','),
    'status.podIP': () => facts.podIps[0] ?? '',
    'status.podIPs': () => facts.podIps.join(','),
  };
  const value = values[path];
  if (value !== undefined) return value();
  throw new FlatnetError(`fieldPath "${path}" is not one that the downward API knows`, {
    code: 'FIELD_UNKNOWN',
    hint: `use one of ${Object.keys(values).join(', ')}`,
  });
}

/** The value of `resourceFieldRef`: requests and limits of CPU (cores, rounded up) and memory (bytes). */
export function resourceValue(
  reference: ResourceFieldSelector,
  container: Container,
  node: { readonly cpus: number; readonly memoryBytes: number },
): string {
  const [kind, name = ''] = reference.resource.split('.');
  const resources = container.resources ?? {};
  const given = (kind === 'limits' ? resources.limits : resources.requests)?.[name];
  const amount = given ?? (kind === 'limits' ? String(name === 'cpu' ? node.cpus : node.memoryBytes) : '0');
  const divisor = parseQuantity(reference.divisor ?? '1') || 1;
  return String(Math.ceil(parseQuantity(amount) / divisor));
}

const SUFFIXES: Readonly<Record<string, number>> = {
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

function parseQuantity(text: string): number {
  const match = /^([0-9.]+(?:e[+-]?\d+)?)([a-zA-Z]*)$/.exec(text);
  return match === null ? 0 : Number(match[1]) * (SUFFIXES[match[2] ?? ''] ?? 1);
}

/** As files of labels and annotations have it: one `key="escaped value"` a line, sorted. */
function renderMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}
