import { ProtoMap, ProtoMessage, type ProtoFields } from '../../cluster/protobuf/message.ts';
import { PROXY_NAME_LABEL } from './service-spec.ts';
import { LAST_CHANGE_ANNOTATION, SERVICE_NAME_LABEL } from './slice-spec.ts';

// What `projectService` and `projectSlice` read, in protobuf: field numbers of generated.proto in k8s.io/api/core/v1,
// k8s.io/api/discovery/v1 and k8s.io/apimachinery/pkg/apis/meta/v1.

const METADATA: ProtoFields = {
  name: [1, 'text'],
  namespace: [3, 'text'],
  resourceVersion: [6, 'text'],
  labels: [11, new ProtoMap(SERVICE_NAME_LABEL, PROXY_NAME_LABEL)],
  annotations: [12, new ProtoMap(LAST_CHANGE_ANNOTATION)],
};

export const SERVICE_MESSAGE = new ProtoMessage({
  metadata: [1, METADATA],
  spec: [
    2,
    {
      ports: [
        1,
        [{ name: [1, 'text'], protocol: [2, 'text'], port: [3, 'integer'], nodePort: [5, 'integer'] }],
      ],
      clusterIP: [3, 'text'],
      type: [4, 'text'],
      externalIPs: [5, ['text']],
      sessionAffinity: [7, 'text'],
      loadBalancerSourceRanges: [9, ['text']],
      externalTrafficPolicy: [11, 'text'],
      healthCheckNodePort: [12, 'integer'],
      sessionAffinityConfig: [14, { clientIP: [1, { timeoutSeconds: [1, 'integer'] }] }],
      clusterIPs: [18, ['text']],
      internalTrafficPolicy: [22, 'text'],
    },
  ],
  status: [3, { loadBalancer: [1, { ingress: [1, [{ ip: [1, 'text'], ipMode: [3, 'text'] }]] }] }],
});

export const SLICE_MESSAGE = new ProtoMessage({
  metadata: [1, METADATA],
  endpoints: [
    2,
    [
      {
        addresses: [1, ['text']],
        conditions: [2, { ready: [1, 'boolean'], serving: [2, 'boolean'], terminating: [3, 'boolean'] }],
        nodeName: [6, 'text'],
        hints: [8, { forZones: [1, [{ name: [1, 'text'] }]], forNodes: [2, [{ name: [1, 'text'] }]] }],
      },
    ],
  ],
  ports: [3, [{ name: [1, 'text'], protocol: [2, 'text'], port: [3, 'integer'] }]],
  addressType: [4, 'text'],
});
