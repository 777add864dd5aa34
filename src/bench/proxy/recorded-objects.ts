import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { Cidr } from '../../net/cidr.ts';

// A cluster as large as wanted: every Service has one TCP port, one ClusterIP and one slice, as the API has them.

const SERVICE_RANGE = Cidr.parse('10.64.0.0/12');
const POD_RANGE = Cidr.parse('10.128.0.0/9');
const NODES = 100;
const CREATED = '2026-01-01T00:00:00Z';
export const TARGET_PORT = 8080;
export const SERVICE_PORT = 80;

export const PORT_NAME = 'http';
const NAMESPACE = 'bench';

const serviceName = (index: number): string => `service-${index}`;
/** `namespace/name`. */
export const serviceKey = (index: number): string => `${NAMESPACE}/${serviceName(index)}`;
export const clusterIp = (index: number): string => SERVICE_RANGE.at(index + 1).toString();
/** Distinct for all Services and numbers; numbers past the first endpoints are pods that come later. */
export const podIp = (pod: number): string => POD_RANGE.at(pod + 1).toString();

export function recordedService(index: number): Service {
  const name = serviceName(index);
  return {
    metadata: {
      name,
      namespace: NAMESPACE,
      uid: uid('5e', index),
      resourceVersion: String(index + 1),
      creationTimestamp: CREATED,
      labels: { app: name },
    },
    spec: {
      clusterIP: clusterIp(index),
      clusterIPs: [clusterIp(index)],
      internalTrafficPolicy: 'Cluster',
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      ports: [{ name: PORT_NAME, port: SERVICE_PORT, protocol: 'TCP', targetPort: TARGET_PORT }],
      selector: { app: name },
      sessionAffinity: 'None',
      type: 'ClusterIP',
    },
    status: { loadBalancer: {} },
  };
}

export function recordedSlice(
  index: number,
  pods: readonly number[],
  resourceVersion: number,
): EndpointSlice {
  const service = serviceName(index);
  return {
    metadata: {
      name: `${service}-abcde`,
      generateName: `${service}-`,
      namespace: NAMESPACE,
      uid: uid('e5', index),
      resourceVersion: String(resourceVersion),
      creationTimestamp: CREATED,
      labels: {
        app: service,
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
        'kubernetes.io/service-name': service,
      },
      annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': new Date().toISOString() },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'Service',
          name: service,
          uid: uid('5e', index),
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    },
    addressType: 'IPv4',
    endpoints: pods.map((pod) => ({
      addresses: [podIp(pod)],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: `node-${pod % NODES}`,
      targetRef: { kind: 'Pod', namespace: NAMESPACE, name: `${service}-${pod}`, uid: uid('90', pod) },
      zone: `zone-${pod % 3}`,
    })),
    ports: [{ name: PORT_NAME, port: TARGET_PORT, protocol: 'TCP' }],
  };
}

function uid(kind: string, index: number): string {
  return `${kind}000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;
}
