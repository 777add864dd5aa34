import {
  ensureObject,
  isObject,
  type JsonObject,
  objectAt,
  objectsAt,
  setDefaults,
  stringAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

/** 0644, the mode of files in volumes. */
const VOLUME_FILE_MODE = 0o644;

/** What kube-apiserver sets on the spec of a pod or of a pod template. */
export function setPodSpecDefaults(spec: JsonObject): void {
  setDefaults(spec, {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    schedulerName: 'default-scheduler',
    securityContext: {},
  });
  if (spec['hostNetwork'] === true) setHostPorts(spec);
  setServiceAccountAlias(spec);
  for (const container of containersOf(spec)) setContainerDefaults(container);
  for (const volume of objectsAt(spec, 'volumes')) setVolumeDefaults(volume);
  for (const constraint of objectsAt(spec, 'topologySpreadConstraints')) {
    setDefaults(constraint, { nodeAffinityPolicy: 'Honor', nodeTaintsPolicy: 'Ignore' });
  }
}

export function containersOf(spec: JsonObject | undefined): JsonObject[] {
  return [
    ...objectsAt(spec, 'initContainers'),
    ...objectsAt(spec, 'containers'),
    ...objectsAt(spec, 'ephemeralContainers'),
  ];
}

function setServiceAccountAlias(spec: JsonObject): void {
  // `serviceAccount` is the old name of the same field; both are always shown.
  const name = stringAt(spec, 'serviceAccountName') ?? stringAt(spec, 'serviceAccount');
  if (name !== undefined && name !== '') {
    spec['serviceAccountName'] = name;
    spec['serviceAccount'] = name;
  }
}

function setHostPorts(spec: JsonObject): void {
  for (const container of containersOf(spec)) {
    for (const port of objectsAt(container, 'ports')) {
      if (port['containerPort'] !== undefined) setDefaults(port, { hostPort: port['containerPort'] });
    }
  }
}

function setContainerDefaults(container: JsonObject): void {
  setDefaults(container, {
    resources: {},
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    imagePullPolicy: pullPolicyOf(stringAt(container, 'image') ?? ''),
  });
  for (const port of objectsAt(container, 'ports')) setDefaults(port, { protocol: 'TCP' });
  for (const variable of objectsAt(container, 'env')) {
    const reference = objectAt(variable, 'valueFrom', 'fieldRef');
    if (reference !== undefined) setDefaults(reference, { apiVersion: 'v1' });
  }
  setRequests(container);
  for (const member of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const probe = container[member];
    if (isObject(probe)) setProbeDefaults(probe);
  }
  for (const hook of ['postStart', 'preStop']) {
    setHttpDefaults(objectAt(container, 'lifecycle', hook, 'httpGet'));
  }
}

/** A limit without a request is the request. */
function setRequests(container: JsonObject): void {
  const limits = objectAt(container, 'resources', 'limits');
  const resources = objectAt(container, 'resources');
  if (limits === undefined || resources === undefined || Object.keys(limits).length === 0) return;
  setDefaults(ensureObject(resources, 'requests'), limits);
}

/** Images that name no tag or `latest` are looked up each time. */
function pullPolicyOf(image: string): string {
  if (image.includes('@')) return 'IfNotPresent';
  const tag = /:([^:/]+)$/.exec(image)?.[1];
  return tag === undefined || tag === 'latest' ? 'Always' : 'IfNotPresent';
}

function setProbeDefaults(probe: JsonObject): void {
  setDefaults(probe, { timeoutSeconds: 1, periodSeconds: 10, successThreshold: 1, failureThreshold: 3 });
  // Zero means unset for these as well.
  for (const [member, value] of [
    ['timeoutSeconds', 1],
    ['periodSeconds', 10],
    ['successThreshold', 1],
    ['failureThreshold', 3],
  ] as const) {
    if (probe[member] === 0) probe[member] = value;
  }
  setHttpDefaults(objectAt(probe, 'httpGet'));
  const grpc = objectAt(probe, 'grpc');
  if (grpc !== undefined) setDefaults(grpc, { service: '' });
}

function setHttpDefaults(action: JsonObject | undefined): void {
  if (action === undefined) return;
  setDefaults(action, { scheme: 'HTTP', path: '/' });
  if (action['path'] === '') action['path'] = '/';
}

function setVolumeDefaults(volume: JsonObject): void {
  for (const source of ['configMap', 'secret', 'downwardAPI', 'projected']) {
    const value = volume[source];
    if (isObject(value)) setDefaults(value, { defaultMode: VOLUME_FILE_MODE });
  }
  const path = objectAt(volume, 'hostPath');
  if (path !== undefined) setDefaults(path, { type: '' });
  for (const item of objectsAt(volume, 'downwardAPI', 'items')) {
    const reference = objectAt(item, 'fieldRef');
    if (reference !== undefined) setDefaults(reference, { apiVersion: 'v1' });
  }
  if (Object.keys(volume).length === 1) volume['emptyDir'] = {};
}

export function setPodDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  setPodSpecDefaults(spec);
  setDefaults(spec, { enableServiceLinks: true });
}

/** Status of a pod that nobody has seen yet. */
export function preparePodForCreate(object: KubeObject): void {
  object['status'] = { phase: 'Pending', qosClass: qosClassOf(objectAt(object, 'spec') ?? {}) };
}

function qosClassOf(spec: JsonObject): string {
  const containers = [...objectsAt(spec, 'containers'), ...objectsAt(spec, 'initContainers')];
  const resources = containers.map((container) => objectAt(container, 'resources') ?? {});
  const any = resources.some(
    (one) =>
      Object.keys(objectAt(one, 'limits') ?? {}).length +
        Object.keys(objectAt(one, 'requests') ?? {}).length >
      0,
  );
  if (!any) return 'BestEffort';
  const guaranteed = resources.every((one) =>
    ['cpu', 'memory'].every((name) => {
      const limit = objectAt(one, 'limits')?.[name];
      return limit !== undefined && limit === objectAt(one, 'requests')?.[name];
    }),
  );
  return guaranteed ? 'Guaranteed' : 'Burstable';
}
