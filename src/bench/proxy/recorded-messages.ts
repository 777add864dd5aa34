import { encodeMessage } from '../../cluster/protobuf/encode.ts';
import type { KubeObject } from '../../cluster/kube-object.ts';
import { ProtoMap, ProtoMessage, type ProtoFields } from '../../cluster/protobuf/message.ts';

// Everything that recorded objects have, in protobuf: generated.proto of k8s.io/api/core/v1, k8s.io/api/discovery/v1
// and k8s.io/apimachinery/pkg/apis/meta/v1.

const METADATA: ProtoFields = {
  name: [1, 'text'],
  generateName: [2, 'text'],
  namespace: [3, 'text'],
  uid: [5, 'text'],
  resourceVersion: [6, 'text'],
  creationTimestamp: [8, { seconds: [1, 'integer'] }],
  labels: [11, new ProtoMap()],
  annotations: [12, new ProtoMap()],
  ownerReferences: [
    13,
    [
      {
        kind: [1, 'text'],
        name: [3, 'text'],
        uid: [4, 'text'],
        apiVersion: [5, 'text'],
        controller: [6, 'boolean'],
        blockOwnerDeletion: [7, 'boolean'],
      },
    ],
  ],
};

export const RECORDED_SERVICE = new ProtoMessage({
  metadata: [1, METADATA],
  spec: [
    2,
    {
      ports: [
        1,
        [
          {
            name: [1, 'text'],
            protocol: [2, 'text'],
            port: [3, 'integer'],
            targetPort: [4, { type: [1, 'integer'], intVal: [2, 'integer'], strVal: [3, 'text'] }],
            nodePort: [5, 'integer'],
          },
        ],
      ],
      selector: [2, new ProtoMap()],
      clusterIP: [3, 'text'],
      type: [4, 'text'],
      sessionAffinity: [7, 'text'],
      ipFamilyPolicy: [17, 'text'],
      clusterIPs: [18, ['text']],
      ipFamilies: [19, ['text']],
      internalTrafficPolicy: [22, 'text'],
    },
  ],
  status: [3, { loadBalancer: [1, {}] }],
});

export const RECORDED_SLICE = new ProtoMessage({
  metadata: [1, METADATA],
  endpoints: [
    2,
    [
      {
        addresses: [1, ['text']],
        conditions: [2, { ready: [1, 'boolean'], serving: [2, 'boolean'], terminating: [3, 'boolean'] }],
        targetRef: [4, { kind: [1, 'text'], namespace: [2, 'text'], name: [3, 'text'], uid: [4, 'text'] }],
        nodeName: [6, 'text'],
        zone: [7, 'text'],
      },
    ],
  ],
  ports: [3, [{ name: [1, 'text'], protocol: [2, 'text'], port: [3, 'integer'] }]],
  addressType: [4, 'text'],
});

/** An object of the API's JSON in protobuf, where times are seconds and ports that may be names say which they are. */
export function encodeRecorded(message: ProtoMessage, json: string): Buffer {
  const object = JSON.parse(json, (key, value: unknown) => {
    if (key === 'creationTimestamp') return { seconds: Date.parse(value as string) / 1000 };
    return key === 'targetPort' ? { type: 0, intVal: value, strVal: '' } : value;
  }) as KubeObject;
  return encodeMessage(message, object);
}
