import { booleanAt, type JsonObject, numberAt, objectAt, objectsAt, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { age } from './age.ts';
import { AGE, column, NAME, orNone, table, wide } from './column-builder.ts';
import type { TableColumns } from './table-columns.ts';

/** A sidecar: an init container that keeps running. */
function isSidecar(container: JsonObject | undefined): boolean {
  return stringAt(container, 'restartPolicy') === 'Always';
}

function sidecarNames(pod: KubeObject): Set<string> {
  const sidecars = objectsAt(pod, 'spec', 'initContainers').filter(isSidecar);
  return new Set(sidecars.map((one) => stringAt(one, 'name') ?? ''));
}

function readyCell(pod: KubeObject): string {
  const sidecars = sidecarNames(pod);
  const statuses = [
    ...objectsAt(pod, 'status', 'containerStatuses'),
    ...objectsAt(pod, 'status', 'initContainerStatuses').filter((one) =>
      sidecars.has(stringAt(one, 'name') ?? ''),
    ),
  ];
  const ready = statuses.filter(
    (one) => booleanAt(one, 'ready') === true && objectAt(one, 'state', 'running') !== undefined,
  );
  return `${ready.length}/${objectsAt(pod, 'spec', 'containers').length + sidecars.size}`;
}

/** The reason of the first init container that is not done; undefined when all are. */
function initReason(pod: KubeObject): string | undefined {
  const sidecars = sidecarNames(pod);
  const total = objectsAt(pod, 'spec', 'initContainers').length;
  for (const [i, status] of objectsAt(pod, 'status', 'initContainerStatuses').entries()) {
    const terminated = objectAt(status, 'state', 'terminated');
    if (terminated !== undefined && numberAt(terminated, 'exitCode') === 0) continue;
    if (sidecars.has(stringAt(status, 'name') ?? '') && booleanAt(status, 'started') === true) continue;
    if (terminated !== undefined) return `Init:${terminatedReason(terminated)}`;
    const waiting = stringAt(status, 'state', 'waiting', 'reason') ?? '';
    return waiting !== '' && waiting !== 'PodInitializing' ? `Init:${waiting}` : `Init:${i}/${total}`;
  }
  return undefined;
}

function terminatedReason(terminated: JsonObject): string {
  const reason = stringAt(terminated, 'reason') ?? '';
  if (reason !== '') return reason;
  const signal = numberAt(terminated, 'signal') ?? 0;
  return signal === 0 ? `ExitCode:${numberAt(terminated, 'exitCode') ?? 0}` : `Signal:${signal}`;
}

function isReady(pod: KubeObject): boolean {
  return objectsAt(pod, 'status', 'conditions').some(
    (one) => one['type'] === 'Ready' && one['status'] === 'True',
  );
}

function containerReason(pod: KubeObject, phase: string): string {
  let reason = phase;
  let running = false;
  for (const status of objectsAt(pod, 'status', 'containerStatuses').reverse()) {
    const waiting = stringAt(status, 'state', 'waiting', 'reason') ?? '';
    const terminated = objectAt(status, 'state', 'terminated');
    if (waiting !== '') reason = waiting;
    else if (terminated !== undefined) reason = terminatedReason(terminated);
    else if (booleanAt(status, 'ready') === true && objectAt(status, 'state', 'running') !== undefined)
      running = true;
  }
  // Some containers are done and others run: the pod as a whole runs.
  if (reason === 'Completed' && running) return isReady(pod) ? 'Running' : 'NotReady';
  return reason;
}

/** kubectl's STATUS of a pod: the most telling reason among pod, init containers and containers. */
function podStatus(pod: KubeObject): string {
  const phase = stringAt(pod, 'status', 'phase') ?? '';
  const podReason = stringAt(pod, 'status', 'reason') ?? '';
  let reason = podReason === '' ? phase : podReason;
  const gated = objectsAt(pod, 'status', 'conditions').some(
    (one) => one['type'] === 'PodScheduled' && one['reason'] === 'SchedulingGated',
  );
  if (gated) reason = 'SchedulingGated';
  reason = initReason(pod) ?? containerReason(pod, reason);
  if (pod.metadata.deletionTimestamp === undefined) return reason === '' ? 'Unknown' : reason;
  if (podReason === 'NodeLost') return 'Unknown';
  return phase === 'Succeeded' || phase === 'Failed' ? reason : 'Terminating';
}

function restartsCell(pod: KubeObject, now: number): string {
  let count = 0;
  let last = 0;
  for (const status of objectsAt(pod, 'status', 'containerStatuses')) {
    count += numberAt(status, 'restartCount') ?? 0;
    const finished = Date.parse(stringAt(status, 'lastState', 'terminated', 'finishedAt') ?? '');
    if (finished > last) last = finished;
  }
  return count === 0 || last === 0
    ? String(count)
    : `${count} (${age(new Date(last).toISOString(), now)} ago)`;
}

function readinessGates(pod: KubeObject): string {
  const gates = objectsAt(pod, 'spec', 'readinessGates');
  if (gates.length === 0) return '<none>';
  const met = gates.filter((gate) =>
    objectsAt(pod, 'status', 'conditions').some(
      (one) => one['type'] === gate['conditionType'] && one['status'] === 'True',
    ),
  );
  return `${met.length}/${gates.length}`;
}

export const POD_COLUMNS: TableColumns = table(
  NAME,
  column('Ready', readyCell),
  column('Status', podStatus),
  column('Restarts', restartsCell),
  AGE,
  wide('IP', (pod) =>
    orNone(stringAt(objectsAt(pod, 'status', 'podIPs')[0], 'ip') ?? stringAt(pod, 'status', 'podIP')),
  ),
  wide('Node', (pod) => orNone(stringAt(pod, 'spec', 'nodeName'))),
  wide('Nominated Node', (pod) => orNone(stringAt(pod, 'status', 'nominatedNodeName'))),
  wide('Readiness Gates', readinessGates),
);
