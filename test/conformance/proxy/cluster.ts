import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { ServicePort, ServicePortChange } from '../../../src/proxy/services/service-port.ts';
import { ServiceModel } from '../../../src/proxy/services/model.ts';
import { projectService } from '../../../src/proxy/services/service-spec.ts';
import {
  LAST_CHANGE_ANNOTATION,
  projectSlice,
  SERVICE_NAME_LABEL,
} from '../../../src/proxy/services/slice-spec.ts';

/** Addresses and nodes of the pods in the conformance network. */
export const PODS = {
  a: { v4: '10.244.1.10', v6: 'fd00:10:244:1::10', node: 'node' },
  b: { v4: '10.244.1.11', v6: 'fd00:10:244:1::11', node: 'node' },
  remote: { v4: '10.244.2.10', v6: 'fd00:10:244:2::10', node: 'remote' },
} as const;

export type PodName = keyof typeof PODS;

export interface TestService {
  readonly name: string;
  readonly clusterIps: readonly string[];
  readonly port: number;
  readonly protocol?: 'TCP' | 'UDP';
  readonly targetPort?: number;
  readonly nodePort?: number;
  readonly affinitySeconds?: number;
}

export function serviceObject(service: TestService): Service {
  const { name, clusterIps, port, protocol = 'TCP', nodePort, affinitySeconds } = service;
  const affinity =
    affinitySeconds === undefined
      ? {}
      : {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: affinitySeconds } },
        };
  return {
    metadata: { namespace: 'test', name },
    spec: {
      type: nodePort === undefined ? 'ClusterIP' : 'NodePort',
      clusterIP: clusterIps[0] ?? 'None',
      clusterIPs: [...clusterIps],
      ports: [{ port, protocol, ...(nodePort === undefined ? {} : { nodePort }) }],
      ...affinity,
    },
  };
}

export function sliceObject(
  service: TestService,
  family: 'v4' | 'v6',
  pods: readonly PodName[],
): EndpointSlice {
  return {
    metadata: {
      namespace: 'test',
      name: `${service.name}-${family}`,
      labels: { [SERVICE_NAME_LABEL]: service.name },
      annotations: { [LAST_CHANGE_ANNOTATION]: new Date().toISOString() },
    },
    addressType: family === 'v4' ? 'IPv4' : 'IPv6',
    endpoints: pods.map((pod) => ({
      addresses: [PODS[pod][family]],
      conditions: { ready: true },
      nodeName: PODS[pod].node,
    })),
    ports: [{ name: '', port: service.targetPort ?? 8080, protocol: service.protocol ?? 'TCP' }],
  };
}

/** The part of a backend that conformance rows need. */
export interface ConformingBackend {
  rebuild(ports: readonly ServicePort[]): unknown;
  update(changes: readonly ServicePortChange[]): unknown;
}

/** A cluster of Services whose pods are those of the conformance network, followed by one backend. */
export class TestCluster {
  readonly model = new ServiceModel();
  readonly #backend: ConformingBackend;
  readonly #slices = new Map<string, ReturnType<typeof projectSlice>>();

  constructor(backend: ConformingBackend) {
    this.#backend = backend;
  }

  /** Makes or changes a Service; its pods in both families that it has addresses of. */
  set(service: TestService, pods: readonly PodName[]): void {
    this.model.setService(projectService(serviceObject(service)));
    for (const family of ['v4', 'v6'] as const) {
      const key = `test/${service.name}-${family}`;
      const slice = projectSlice(sliceObject(service, family, pods), 'node');
      this.model.setSlice(key, slice, this.#slices.get(key));
      this.#slices.set(key, slice);
    }
    this.#backend.update(this.model.drain());
  }

  delete(service: TestService): void {
    this.model.deleteService(`test/${service.name}`);
    this.#backend.update(this.model.drain());
  }
}
