import { ensureObject, isObject, objectAt, objectsAt, setDefaults, stringAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

// Defaults of the kinds that have only a few.

export function setEndpointSliceDefaults(object: KubeObject): void {
  for (const port of objectsAt(object, 'ports')) setDefaults(port, { name: '', protocol: 'TCP' });
  for (const endpoint of objectsAt(object, 'endpoints')) ensureObject(endpoint, 'conditions');
}

export function setEndpointsDefaults(object: KubeObject): void {
  for (const subset of objectsAt(object, 'subsets')) {
    for (const port of objectsAt(subset, 'ports')) setDefaults(port, { protocol: 'TCP' });
  }
}

export function setIngressDefaults(object: KubeObject): void {
  ensureObject(ensureObject(object, 'status'), 'loadBalancer');
}

/** A policy without types is for ingress, and for egress where it has egress rules. */
export function setNetworkPolicyDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  ensureObject(spec, 'podSelector');
  if (!Array.isArray(spec['policyTypes']) || spec['policyTypes'].length === 0) {
    spec['policyTypes'] =
      Array.isArray(spec['egress']) && spec['egress'].length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  }
  for (const member of ['ingress', 'egress']) {
    for (const rule of objectsAt(spec, member)) {
      for (const port of objectsAt(rule, 'ports')) setDefaults(port, { protocol: 'TCP' });
    }
  }
}

/** stringData is write-only: it goes into data as base64. */
export function setSecretDefaults(object: KubeObject): void {
  setDefaults(object, { type: 'Opaque' });
  const plain = objectAt(object, 'stringData');
  delete object['stringData'];
  if (plain === undefined) return;
  const data = ensureObject(object, 'data');
  for (const [key, value] of Object.entries(plain)) {
    if (typeof value === 'string') data[key] = Buffer.from(value).toString('base64');
  }
}

export function setNamespaceDefaults(object: KubeObject): void {
  // kube-apiserver labels every namespace with its name, so that policies can select it.
  const labels = ensureObject(object.metadata, 'labels');
  if (object.metadata.name !== undefined) labels['kubernetes.io/metadata.name'] = object.metadata.name;
  ensureObject(object, 'spec');
}

export function prepareNamespaceForCreate(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  spec['finalizers'] = ['kubernetes'];
  object['status'] = { phase: 'Active' };
}

export function setNodeDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  // podCIDR and podCIDRs[0] are the same, whichever was written.
  const cidrs = spec['podCIDRs'];
  const first = Array.isArray(cidrs) ? cidrs[0] : undefined;
  if (typeof first === 'string' && stringAt(spec, 'podCIDR') === undefined) spec['podCIDR'] = first;
  if (first === undefined && stringAt(spec, 'podCIDR') !== undefined)
    spec['podCIDRs'] = [spec['podCIDR'] ?? ''];
  const status = ensureObject(object, 'status');
  const capacity = objectAt(status, 'capacity');
  if (capacity !== undefined && !isObject(status['allocatable'])) status['allocatable'] = { ...capacity };
}

export function setRoleBindingDefaults(object: KubeObject): void {
  for (const subject of objectsAt(object, 'subjects')) {
    if (subject['kind'] === 'User' || subject['kind'] === 'Group')
      setDefaults(subject, { apiGroup: 'rbac.authorization.k8s.io' });
  }
  const role = objectAt(object, 'roleRef');
  if (role !== undefined) setDefaults(role, { apiGroup: 'rbac.authorization.k8s.io' });
}
