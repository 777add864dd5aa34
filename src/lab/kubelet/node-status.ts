import { cpus, release, totalmem } from 'node:os';
import type { Node, NodeCondition, NodeStatus } from 'kubernetes-types/core/v1.js';
import { SERVER_VERSION } from '../apiserver/discovery/server-version.ts';

export interface NodeFacts {
  readonly name: string;
  readonly addresses: readonly string[];
  readonly kubeletPort: number;
  /** Why the pod network is not ready; undefined when it is. */
  readonly networkProblem: string | undefined;
}

/** What this kubelet behaves like; kubectl shows it in the column VERSION. */
// Kubernetes' version skew policy: a kubelet is never newer than its API server.
const KUBELET_VERSION = SERVER_VERSION.gitVersion;
const MAX_PODS = 110;

/** The Node object as a kubelet registers it. */
export function newNode(facts: NodeFacts): Node {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: facts.name,
      labels: {
        'kubernetes.io/hostname': facts.name,
        'kubernetes.io/os': 'linux',
        'kubernetes.io/arch': goArchitecture(),
        'beta.kubernetes.io/os': 'linux',
        'beta.kubernetes.io/arch': goArchitecture(),
      },
    },
    spec: {},
  };
}

/** The part of the status that the kubelet owns; `old` gives the times of the last transitions. */
export function nodeStatus(facts: NodeFacts, old: readonly NodeCondition[], now: string): NodeStatus {
  const resources = {
    cpu: String(cpus().length),
    memory: `${Math.floor(totalmem() / 1024)}Ki`,
    'ephemeral-storage': '20Gi',
    pods: String(MAX_PODS),
  };
  return {
    capacity: resources,
    allocatable: resources,
    addresses: [
      ...facts.addresses.map((address) => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: facts.name },
    ],
    conditions: conditions(facts, old, now),
    daemonEndpoints: { kubeletEndpoint: { Port: facts.kubeletPort } },
    nodeInfo: {
      architecture: goArchitecture(),
      bootID: '',
      containerRuntimeVersion: 'flatnet://lab',
      kernelVersion: release(),
      kubeProxyVersion: '',
      kubeletVersion: KUBELET_VERSION,
      machineID: facts.name,
      operatingSystem: 'linux',
      osImage: 'Flatnet lab',
      systemUUID: facts.name,
    },
  };
}

function conditions(facts: NodeFacts, old: readonly NodeCondition[], now: string): NodeCondition[] {
  const { networkProblem } = facts;
  const ready =
    networkProblem === undefined
      ? { status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' }
      : { status: 'False', reason: 'KubeletNotReady', message: networkProblem };
  return [
    fine('MemoryPressure', 'Sufficient Memory'),
    fine('DiskPressure', 'No Disk Pressure'),
    fine('PIDPressure', 'Sufficient PID'),
    { type: 'Ready', ...ready },
  ].map((condition) => {
    const before = old.find(({ type }) => type === condition.type);
    const same = before?.status === condition.status && before.lastTransitionTime !== undefined;
    return {
      ...condition,
      lastHeartbeatTime: now,
      lastTransitionTime: same ? (before.lastTransitionTime ?? now) : now,
    };
  });
}

/** The machine's architecture in Go's words. */
function goArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch;
}

function fine(type: string, what: string): NodeCondition {
  return {
    type,
    status: 'False',
    reason: `KubeletHas${what.replaceAll(' ', '')}`,
    message: `kubelet has ${what.toLowerCase()} available`,
  };
}
