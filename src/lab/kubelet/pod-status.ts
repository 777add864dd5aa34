import type {
  Container,
  ContainerState,
  ContainerStatus,
  Pod,
  PodCondition,
  PodStatus,
} from 'kubernetes-types/core/v1.js';
import { restarts } from './restart-policy.ts';

/** What the kubelet knows of one container of a pod. */
export interface ContainerView {
  readonly state: ContainerState;
  readonly lastState?: ContainerState | undefined;
  readonly restartCount: number;
  /** Startup probe has succeeded, or there is none and the container runs. */
  readonly started: boolean;
  /** Readiness probe succeeds, or there is none and the container has started. */
  readonly ready: boolean;
  readonly containerId?: string | undefined;
}

export interface PodView {
  readonly containers: ReadonlyMap<string, ContainerView>;
  readonly podIps: readonly string[];
  readonly hostIps: readonly string[];
  readonly startTime: string;
  readonly sandboxReady: boolean;
  /** Set where the pod as a whole failed: `Evicted`, `DeadlineExceeded`. */
  readonly failure?: { readonly reason: string; readonly message: string } | undefined;
}

/** Conditions that this kubelet owns; others (scheduler, readiness gates) are left as they are. */
const OWN_CONDITIONS = new Set(['PodReadyToStartContainers', 'Initialized', 'Ready', 'ContainersReady']);

/** The status of a pod, computed from its spec, its status in the API and what runs. Pure. */
export function podStatus(pod: Pod, view: PodView, now: string): PodStatus {
  const initContainers = pod.spec?.initContainers ?? [];
  const containers = pod.spec?.containers ?? [];
  const phase = podPhase(pod, view);
  return {
    phase,
    conditions: conditions(pod, view, phase, now),
    hostIP: view.hostIps[0] ?? '',
    ...ips(view),
    startTime: view.startTime,
    ...(initContainers.length === 0
      ? {}
      : { initContainerStatuses: initContainers.map((one) => statusOf(one, view, 'PodInitializing')) }),
    containerStatuses: containers.map((one) =>
      statusOf(one, view, initContainers.length === 0 ? 'ContainerCreating' : 'PodInitializing'),
    ),
    qosClass: pod.status?.qosClass ?? qosClass(containers),
    ...(view.failure === undefined ? {} : view.failure),
  };
}

/** Pod lifecycle, "Pod phase". */
export function podPhase(pod: Pod, view: PodView): 'Pending' | 'Running' | 'Succeeded' | 'Failed' {
  if (view.failure !== undefined) return 'Failed';
  const policy = pod.spec?.restartPolicy;
  const states = (list: readonly Container[] | undefined): ContainerState[] =>
    (list ?? []).map(({ name }) => view.containers.get(name)?.state ?? {});
  const init = states(pod.spec?.initContainers?.filter((one) => !isSidecar(one)));
  if (init.some(({ terminated }) => terminated !== undefined && terminated.exitCode !== 0)) {
    return policy === 'Never' ? 'Failed' : 'Pending';
  }
  if (init.some(({ terminated }) => terminated === undefined)) return 'Pending';
  const sidecars = pod.spec?.initContainers?.filter(isSidecar) ?? [];
  if (!sidecars.every(({ name }) => hasBegun(view.containers.get(name)))) return 'Pending';
  const main = states(pod.spec?.containers);
  const finished = main.every(
    ({ terminated }) => terminated !== undefined && !restarts(policy, terminated.exitCode),
  );
  if (main.length > 0 && finished) {
    // What the sidecars end with is of no account, but the pod is not over before they have ended.
    if (states(sidecars).some(({ running }) => running !== undefined)) return 'Running';
    return main.every(({ terminated }) => terminated?.exitCode === 0) ? 'Succeeded' : 'Failed';
  }
  const begun = (pod.spec?.containers ?? []).every(({ name }) => hasBegun(view.containers.get(name)));
  return begun ? 'Running' : 'Pending';
}

/** An init container that runs beside the others as long as the pod does. */
function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}

/** Runs or has run: a container in CrashLoopBackOff leaves the pod Running. */
function hasBegun(view: ContainerView | undefined): boolean {
  return (
    view !== undefined &&
    (view.state.running !== undefined || view.state.terminated !== undefined || view.lastState !== undefined)
  );
}

function ips(view: PodView): Pick<PodStatus, 'podIP' | 'podIPs'> & { hostIPs: { ip: string }[] } {
  const hostIPs = view.hostIps.map((ip) => ({ ip }));
  const [podIP] = view.podIps;
  if (podIP === undefined) return { hostIPs };
  return { hostIPs, podIP, podIPs: view.podIps.map((ip) => ({ ip })) };
}

/** `before`: what a container waits for as long as nothing has been done for it. */
function statusOf(container: Container, view: PodView, before: string): ContainerStatus {
  const known = view.containers.get(container.name);
  const image = container.image ?? '';
  return {
    name: container.name,
    image,
    imageID: known?.containerId === undefined ? '' : `docker-pullable://${image}`,
    ...(known?.containerId === undefined ? {} : { containerID: `containerd://${known.containerId}` }),
    restartCount: known?.restartCount ?? 0,
    ready: known?.ready ?? false,
    started: known?.started ?? false,
    state: known?.state ?? { waiting: { reason: before } },
    lastState: known?.lastState ?? {},
  };
}

function conditions(pod: Pod, view: PodView, phase: string, now: string): PodCondition[] {
  const old = pod.status?.conditions ?? [];
  const completed = phase === 'Succeeded';
  const names = (pod.spec?.containers ?? []).map(({ name }) => name);
  const unready = names.filter((name) => view.containers.get(name)?.ready !== true);
  const initDone = (pod.spec?.initContainers ?? []).every((container) => {
    const known = view.containers.get(container.name);
    return isSidecar(container)
      ? known?.started === true || known?.state.terminated !== undefined
      : known?.state.terminated?.exitCode === 0;
  });
  const gates = (pod.spec?.readinessGates ?? []).map(({ conditionType }) => conditionType);
  const closed = gates.filter((gate) => !old.some(({ type, status }) => type === gate && status === 'True'));
  const whyUnready = completed
    ? { reason: 'PodCompleted' }
    : { reason: 'ContainersNotReady', message: `containers with unready status: [${unready.join(' ')}]` };
  const whyClosed = {
    reason: 'ReadinessGatesNotReady',
    message: closed
      .map((gate) => `corresponding condition of pod readiness gate "${gate}" does not exist or is False`)
      .join(', '),
  };
  const ready = unready.length === 0 && phase === 'Running';
  const own = [
    condition('PodReadyToStartContainers', view.sandboxReady, {}),
    condition(
      'Initialized',
      initDone,
      completed ? { reason: 'PodCompleted' } : { reason: 'ContainersNotInitialized' },
    ),
    condition('Ready', ready && closed.length === 0, ready ? whyClosed : whyUnready),
    condition('ContainersReady', ready, whyUnready),
  ].map((next) => keepTransition(next, old, now));
  return [...own, ...old.filter(({ type }) => !OWN_CONDITIONS.has(type))];
}

function condition(
  type: string,
  isTrue: boolean,
  why: { readonly reason?: string; readonly message?: string },
): PodCondition {
  return isTrue ? { type, status: 'True' } : { type, status: 'False', ...why };
}

/** The time changes only when the status does. */
function keepTransition(next: PodCondition, old: readonly PodCondition[], now: string): PodCondition {
  const before = old.find(({ type }) => type === next.type);
  const same = before?.status === next.status && before.lastTransitionTime !== undefined;
  return { ...next, lastTransitionTime: same ? (before.lastTransitionTime ?? now) : now };
}

/** Quality of service: Guaranteed where all limits are set and equal the requests, BestEffort where none is. */
function qosClass(containers: readonly Container[]): string {
  const resources = containers.map((container) => container.resources ?? {});
  if (resources.every(({ limits, requests }) => isEmpty(limits) && isEmpty(requests))) return 'BestEffort';
  const guaranteed = resources.every(({ limits, requests }) =>
    ['cpu', 'memory'].every(
      (name) => limits?.[name] !== undefined && (requests?.[name] ?? limits[name]) === limits[name],
    ),
  );
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

function isEmpty(map: object | undefined): boolean {
  return Object.keys(map ?? {}).length === 0;
}
