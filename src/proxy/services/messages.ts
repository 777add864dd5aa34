import { ProtoMap, ProtoMessage, type ProtoFields } from '../../cluster/protobuf/message.ts';
import { isDelimited, type ProtoReader } from '../../cluster/protobuf/reader.ts';
import { PROXY_NAME_LABEL } from './service-spec.ts';
import {
  hintsOf,
  LAST_CHANGE_ANNOTATION,
  LOCAL,
  SERVICE_NAME_LABEL,
  stateOf,
  type EndpointReading,
  type NodeTopology,
} from './slice-spec.ts';

// What `projectService` and `projectReadSlice` read, in protobuf: field numbers of generated.proto in k8s.io/api/core/v1,
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

/** As this node sees the endpoints. */
export function sliceMessage(topology: NodeTopology): ProtoMessage {
  return new ProtoMessage({
    metadata: [1, METADATA],
    endpoints: [2, [(reader: ProtoReader, end: number) => readEndpoint(reader, end, topology)]],
    ports: [3, [{ name: [1, 'text'], protocol: [2, 'text'], port: [3, 'integer'] }]],
    addressType: [4, 'text'],
  });
}

/** Numbers of Endpoint. */
const ENDPOINT = { addresses: 1, conditions: 2, nodeName: 6, hints: 8 } as const;
const HINTS = new ProtoMessage({
  forZones: [1, [{ name: [1, 'text'] }]],
  forNodes: [2, [{ name: [1, 'text'] }]],
});

/** By hand: to make an object of each, and of what is in it, takes four times as long. */
function readEndpoint(reader: ProtoReader, end: number, topology: NodeTopology): EndpointReading {
  let address: string | undefined;
  let conditions = DEFAULT_CONDITIONS;
  let local = 0;
  let hints = 0;
  while (reader.isBefore(end)) {
    const tag = reader.tag();
    if (!isDelimited(tag)) {
      reader.skip(tag, end);
      continue;
    }
    const number = tag >>> 3;
    const last = reader.open(end);
    if (number === ENDPOINT.addresses) address ??= reader.asciiText(last);
    else if (number === ENDPOINT.conditions) conditions = readConditions(reader, last);
    else if (number === ENDPOINT.nodeName) local = reader.isText(topology.nodeName, last) ? LOCAL : 0;
    else if (number === ENDPOINT.hints) hints = hintsOf(reader.messageHere(HINTS, last), topology);
    reader.close(last);
  }
  const is = (number: number): boolean => (conditions & (1 << number)) !== 0;
  const { ready, serving, terminating } = CONDITION;
  return { address: address ?? '', state: stateOf(is(ready), is(serving), is(terminating), local, hints) };
}

/** Numbers of EndpointConditions. */
const CONDITION = { ready: 1, serving: 2, terminating: 3 } as const;
const DEFAULT_CONDITIONS = (1 << CONDITION.ready) | (1 << CONDITION.serving);

/** A bit for each that is true, by its number. */
function readConditions(reader: ProtoReader, end: number): number {
  let conditions = DEFAULT_CONDITIONS;
  while (reader.isBefore(end)) {
    const tag = reader.tag();
    const bit = 1 << (tag >>> 3);
    if ((tag & 7) !== 0 || tag >>> 3 > CONDITION.terminating) reader.skip(tag, end);
    else if (reader.integer() === 0) conditions &= ~bit;
    else conditions |= bit;
  }
  return conditions;
}
