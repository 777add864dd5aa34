import {
  arrayAt,
  ensureObject,
  type JsonObject,
  numberAt,
  objectsAt,
  setDefaults,
  stringAt,
  stringsAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

/** Three hours, as kube-apiserver sets it. */
const AFFINITY_TIMEOUT_SECONDS = 10_800;

/** What kube-apiserver sets on a Service before addresses are given out. */
export function setServiceDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  setDefaults(spec, { sessionAffinity: 'None', type: 'ClusterIP' });
  if (spec['sessionAffinity'] === 'None') delete spec['sessionAffinityConfig'];
  if (spec['sessionAffinity'] === 'ClientIP') {
    const clientIP = ensureObject(ensureObject(spec, 'sessionAffinityConfig'), 'clientIP');
    setDefaults(clientIP, { timeoutSeconds: AFFINITY_TIMEOUT_SECONDS });
  }
  const external = spec['type'] === 'NodePort' || spec['type'] === 'LoadBalancer';
  const externalName = spec['type'] === 'ExternalName';
  if (external || stringsAt(spec, 'externalIPs').length > 0)
    setDefaults(spec, { externalTrafficPolicy: 'Cluster' });
  if (!externalName) setDefaults(spec, { internalTrafficPolicy: 'Cluster' });
  if (spec['type'] === 'LoadBalancer') setDefaults(spec, { allocateLoadBalancerNodePorts: true });
  for (const port of objectsAt(spec, 'ports')) setPortDefaults(port);
  if (object['status'] === undefined) object['status'] = { loadBalancer: {} };
}

function setPortDefaults(port: JsonObject): void {
  setDefaults(port, { protocol: 'TCP' });
  const target = port['targetPort'];
  const unset = target === undefined || target === null || target === 0 || target === '';
  if (unset && port['port'] !== undefined) port['targetPort'] = port['port'];
  if (port['nodePort'] === 0) delete port['nodePort'];
}

export function isHeadless(spec: JsonObject | undefined): boolean {
  return stringAt(spec, 'clusterIP') === 'None' || arrayAt(spec, 'clusterIPs')[0] === 'None';
}

/** Addresses and ports that an update left out are those the Service has, as long as its type still has them. */
export function keepServiceAddresses(object: KubeObject, old: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  const before = ensureObject(old, 'spec');
  const had = before['type'] !== 'ExternalName';
  if (had && spec['type'] !== 'ExternalName') {
    for (const member of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']) {
      const absent = spec[member] === undefined || spec[member] === null || spec[member] === '';
      if (absent && before[member] !== undefined) spec[member] = before[member];
    }
  }
  if (spec['type'] === 'ExternalName' && had) dropAddresses(spec, before);
  if (needsNodePorts(spec) && needsNodePorts(before)) keepNodePorts(spec, before);
  else if (!needsNodePorts(spec)) dropNodePorts(spec, before);
}

function dropAddresses(spec: JsonObject, before: JsonObject): void {
  const same = spec['clusterIP'] === before['clusterIP'];
  if (!same) return;
  for (const member of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy'])
    delete spec[member];
}

export function needsNodePorts(spec: JsonObject | undefined): boolean {
  const type = stringAt(spec, 'type');
  if (type === 'LoadBalancer') return spec?.['allocateLoadBalancerNodePorts'] !== false;
  return type === 'NodePort';
}

function portKey(port: JsonObject): string {
  return `${stringAt(port, 'protocol') ?? 'TCP'}/${numberAt(port, 'port') ?? 0}`;
}

function keepNodePorts(spec: JsonObject, before: JsonObject): void {
  const known = new Map(objectsAt(before, 'ports').map((port) => [portKey(port), port['nodePort']]));
  const taken = new Set(objectsAt(spec, 'ports').map((port) => port['nodePort']));
  for (const port of objectsAt(spec, 'ports')) {
    const kept = known.get(portKey(port));
    if (port['nodePort'] === undefined && kept !== undefined && !taken.has(kept)) port['nodePort'] = kept;
  }
}

/** A type without node ports: those that the client only carried over are dropped. */
function dropNodePorts(spec: JsonObject, before: JsonObject): void {
  const known = new Set(objectsAt(before, 'ports').map((port) => port['nodePort']));
  for (const port of objectsAt(spec, 'ports')) if (known.has(port['nodePort'])) delete port['nodePort'];
  if (stringsAt(spec, 'externalIPs').length === 0 && stringAt(spec, 'type') !== 'LoadBalancer') {
    delete spec['externalTrafficPolicy'];
    delete spec['healthCheckNodePort'];
    delete spec['allocateLoadBalancerNodePorts'];
  }
}
