import type { Node } from 'kubernetes-types/core/v1.js';
import { ApiClient } from '../../cluster/api-client.ts';
import { loadKubeconfig } from '../../cluster/kubeconfig.ts';
import { NODES, PODS } from '../../cluster/resource-type.ts';
import { describeError } from '../../errors/flatnet-error.ts';
import { labFolder, listLabs } from '../state/lab-folder.ts';
import { readLabRecord, type LabRecord } from '../state/lab-record.ts';
import { isRunning } from '../state/process-identity.ts';

export interface LabStatus {
  readonly name: string;
  readonly state: 'running' | 'starting' | 'crashed';
  readonly startedAt?: string;
  readonly options?: LabRecord['options'];
  readonly kubeconfig: string;
  readonly server?: string;
  readonly daemon?: { readonly pid: number };
  readonly nodes: readonly NodeView[];
  readonly pods?: { readonly total: number; readonly running: number };
  /** Why the API server could not be asked. */
  readonly problem?: string;
}

interface NodeView {
  readonly name: string;
  readonly ready: boolean;
  readonly addresses: readonly string[];
  readonly podCidrs: readonly string[];
  /** PID 1 of the node, as the host sees it. */
  readonly pid: number;
  readonly agent?: { readonly pid: number; readonly restarts: number };
}

/** What there is of a lab; undefined where there is nothing. */
export async function labStatus(name: string): Promise<LabStatus | undefined> {
  if (!listLabs().includes(name)) return undefined;
  const folder = labFolder(name);
  const record = readLabRecord(name);
  if (record?.daemon === undefined || !isRunning(record.daemon)) {
    return { name, state: 'crashed', kubeconfig: folder.kubeconfig, nodes: [] };
  }
  const base = {
    name,
    state: record.phase,
    startedAt: record.startedAt,
    options: record.options,
    kubeconfig: folder.kubeconfig,
    server: `https://127.0.0.1:${record.apiPort}`,
    daemon: { pid: record.daemon.pid },
  };
  try {
    const client = new ApiClient(await loadKubeconfig(folder.kubeconfig), 'flatnet-lab');
    const [nodes, pods] = await Promise.all([client.list(NODES), client.list(PODS)]);
    await client.close();
    const running = pods.items.filter(({ status }) => status?.phase === 'Running').length;
    return { ...base, nodes: nodeViews(record, nodes.items), pods: { total: pods.items.length, running } };
  } catch (error) {
    return { ...base, nodes: nodeViews(record, []), problem: describeError(error) };
  }
}

function nodeViews(record: LabRecord, objects: readonly Node[]): NodeView[] {
  return record.nodes.map((node) => {
    const object = objects.find(({ metadata }) => metadata?.name === node.name);
    const ready = object?.status?.conditions?.some(
      ({ type, status }) => type === 'Ready' && status === 'True',
    );
    return {
      name: node.name,
      ready: ready === true,
      addresses: node.addresses,
      podCidrs: object?.spec?.podCIDRs ?? [],
      pid: node.init.pid,
      ...(node.agent === undefined ? {} : { agent: { pid: node.agent.pid, restarts: node.agentRestarts } }),
    };
  });
}
