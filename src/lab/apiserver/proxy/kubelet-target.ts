import { objectsAt, numberAt, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { badRequest, notFound, StatusError } from '../json/status-error.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { parseStored, storageKey } from '../store/stored-object.ts';

const DEFAULT_KUBELET_PORT = 10_250;

export interface KubeletTarget {
  readonly host: string;
  readonly port: number;
  /** `/containerLogs/ns/pod/container?…` and its like. */
  readonly path: string;
}

export type PodOperation = 'containerLogs' | 'exec' | 'attach' | 'portForward';

/** Query parameters that go on to the kubelet. */
const PASSED: Readonly<Record<PodOperation, readonly string[]>> = {
  containerLogs: [
    'follow',
    'previous',
    'sinceSeconds',
    'sinceTime',
    'timestamps',
    'tailLines',
    'limitBytes',
    'stream',
  ],
  exec: ['command', 'stdin', 'stdout', 'stderr', 'tty'],
  attach: ['stdin', 'stdout', 'stderr', 'tty'],
  portForward: ['port', 'ports'],
};

/** Left out where they are not wanted; a word of the command is one, whatever it says. */
const STREAMS: ReadonlySet<string> = new Set(['stdin', 'stdout', 'stderr', 'tty']);

/** The kubelet wants 1 where clients say true. */
function passedValue(operation: PodOperation, name: string, value: string): string {
  if (operation === 'containerLogs') return value;
  if (name === 'stdin') return value === 'true' || value === '1' ? '1' : '0';
  return (name === 'stdout' || name === 'stderr' || name === 'tty') && value === 'true' ? '1' : value;
}

const KUBELET_NAMES: Readonly<Record<string, string>> = { stdin: 'input', stdout: 'output', stderr: 'error' };

/** Where the kubelet of a pod's node answers such an operation; 400 where the pod has no node yet. */
export function kubeletTarget(
  stores: { readonly pods: ObjectStore; readonly nodes: ObjectStore },
  operation: PodOperation,
  namespace: string,
  name: string,
  query: URLSearchParams,
): KubeletTarget {
  const stored = stores.pods.get(storageKey(namespace, name));
  if (stored === undefined) throw notFound('', 'pods', name);
  const pod = parseStored(stored);
  const node = stringAt(pod, 'spec', 'nodeName') ?? '';
  if (node === '') throw badRequest(`pod ${name} does not have a host assigned`);
  const found = stores.nodes.get(node);
  if (found === undefined) throw notFound('', 'nodes', node);
  const parameters = new URLSearchParams();
  for (const one of PASSED[operation]) {
    for (const value of query.getAll(one)) {
      if (STREAMS.has(one) && (value === 'false' || value === '0')) continue;
      const kubeletName = operation === 'exec' || operation === 'attach' ? (KUBELET_NAMES[one] ?? one) : one;
      parameters.append(kubeletName, passedValue(operation, one, value));
    }
  }
  const container =
    operation === 'portForward' ? '' : `/${encodeURIComponent(chooseContainer(pod, query.get('container')))}`;
  const search = parameters.toString();
  return {
    ...kubeletAddress(parseStored(found)),
    path: `/${operation}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}${container}${search === '' ? '' : `?${search}`}`,
  };
}

/** The container that is meant; a pod with several wants it named. */
function chooseContainer(pod: KubeObject, asked: string | null): string {
  const names = ['containers', 'initContainers', 'ephemeralContainers'].map((list) =>
    objectsAt(pod, 'spec', list).map((one) => stringAt(one, 'name') ?? ''),
  );
  const podName = pod.metadata.name ?? '';
  if (asked !== null && asked !== '') {
    if (names.flat().includes(asked)) return asked;
    throw badRequest(`container ${asked} is not valid for pod ${podName}`);
  }
  const [regular = []] = names;
  if (regular.length === 1) return regular[0] ?? '';
  throw badRequest(
    `a container name must be specified for pod ${podName}, choose one of: [${names.flat().join(' ')}]`,
  );
}

function kubeletAddress(node: KubeObject): { host: string; port: number } {
  const addresses = objectsAt(node, 'status', 'addresses');
  for (const type of ['InternalIP', 'ExternalIP', 'Hostname']) {
    const host = stringAt(
      addresses.find((one) => one['type'] === type),
      'address',
    );
    if (host !== undefined) {
      return {
        host,
        port: numberAt(node, 'status', 'daemonEndpoints', 'kubeletEndpoint', 'Port') ?? DEFAULT_KUBELET_PORT,
      };
    }
  }
  throw new StatusError(
    503,
    'ServiceUnavailable',
    `no preferred addresses found for node "${node.metadata.name ?? ''}"; known addresses: []`,
  );
}
