import { definitionStrategy } from '../crd/definition-strategy.ts';
import { validateEndpoints, validateEndpointSlice } from '../validation/endpoints.ts';
import { validateIngress, validateNetworkPolicy } from '../validation/networking.ts';
import { validateNode, validateSecret, validateConfigMap, validateLease } from '../validation/objects.ts';
import { validatePod } from '../validation/pod.ts';
import { validateService } from '../validation/service.ts';
import { validateWorkload } from '../validation/workload.ts';
import * as defaults from './object-defaults.ts';
import { preparePodForCreate, setPodDefaults } from './pod-defaults.ts';
import type { Strategy } from './resource-definition.ts';
import { EVENT_FIELDS, POD_FIELDS, selectable } from './selectable-fields.ts';
import { keepServiceAddresses, setServiceDefaults } from './service-defaults.ts';
import { setDaemonSetDefaults, setDeploymentDefaults, setReplicaSetDefaults } from './workload-defaults.ts';
import type { KubeObject } from '../json/kube-object.ts';

/** Status is what controllers find out: a new object has none. */
function dropStatus(object: KubeObject): void {
  object['status'] = {};
}

/** What is particular about each built-in kind, by kind. */
export const storedStrategies: Readonly<Record<string, Strategy>> = {
  Namespace: {
    setDefaults: defaults.setNamespaceDefaults,
    prepareForCreate: defaults.prepareNamespaceForCreate,
    prepareForUpdate: (object, old) => {
      object['spec'] = old['spec'];
    },
    ...selectable({ 'status.phase': ['status', 'phase'] }),
  },
  Node: {
    setDefaults: defaults.setNodeDefaults,
    validate: validateNode,
    ...selectable({ 'spec.unschedulable': ['spec', 'unschedulable'] }),
  },
  Pod: {
    setDefaults: setPodDefaults,
    prepareForCreate: preparePodForCreate,
    validate: validatePod,
    ...POD_FIELDS,
  },
  Service: {
    setDefaults: setServiceDefaults,
    prepareForUpdate: keepServiceAddresses,
    validate: validateService,
    ...selectable({ 'spec.clusterIP': ['spec', 'clusterIP'], 'spec.type': ['spec', 'type'] }),
  },
  Endpoints: {
    setDefaults: defaults.setEndpointsDefaults,
    validate: validateEndpoints,
    createOnUpdate: true,
  },
  EndpointSlice: {
    setDefaults: defaults.setEndpointSliceDefaults,
    validate: validateEndpointSlice,
    countsGenerations: true,
  },
  ConfigMap: { validate: validateConfigMap },
  Secret: {
    setDefaults: defaults.setSecretDefaults,
    validate: validateSecret,
    ...selectable({ type: ['type'] }),
  },
  Event: { createOnUpdate: true, ...EVENT_FIELDS },
  Lease: { validate: validateLease, createOnUpdate: true },
  Deployment: {
    setDefaults: setDeploymentDefaults,
    prepareForCreate: dropStatus,
    validate: validateWorkload,
    countsGenerations: true,
  },
  ReplicaSet: {
    setDefaults: setReplicaSetDefaults,
    prepareForCreate: (object) => {
      object['status'] = { replicas: 0 };
    },
    validate: validateWorkload,
    countsGenerations: true,
    ...selectable({ 'status.replicas': ['status', 'replicas'] }),
  },
  DaemonSet: {
    setDefaults: setDaemonSetDefaults,
    prepareForCreate: (object) => {
      delete object['status'];
      setDaemonSetDefaults(object);
    },
    validate: validateWorkload,
    countsGenerations: true,
  },
  Ingress: {
    setDefaults: defaults.setIngressDefaults,
    prepareForCreate: (object) => {
      object['status'] = { loadBalancer: {} };
    },
    validate: validateIngress,
    countsGenerations: true,
  },
  IngressClass: { countsGenerations: true },
  NetworkPolicy: {
    setDefaults: defaults.setNetworkPolicyDefaults,
    validate: validateNetworkPolicy,
    countsGenerations: true,
  },
  CustomResourceDefinition: definitionStrategy,
  RoleBinding: { setDefaults: defaults.setRoleBindingDefaults },
  ClusterRoleBinding: { setDefaults: defaults.setRoleBindingDefaults },
};
