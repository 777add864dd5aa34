import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { expect, test } from 'vitest';
import { readListPage } from '../../cluster/protobuf/list-page.ts';
import type { ProtoMessage } from '../../cluster/protobuf/message.ts';
import { SERVICE_MESSAGE, sliceMessage } from './messages.ts';
import { projectReadService, projectService } from './service-spec.ts';
import { projectReadSlice, projectSlice, type SliceReading } from './slice-spec.ts';

// Lists of one object, from the API's generated.proto by an independent encoder (protobufjs), with the empty texts
// that kube-apiserver writes, and with fields that the proxy does not read.

const SLICES =
  'azhzAAoXCgJ2MRIRRW5kcG9pbnRTbGljZUxpc3QSzgIKDgoAEgQ0NzExGgRuZXh0ErsCCrwBCgl3ZWItYWJjZGUSBHdlYi0aBHNo' +
  'b3AqAXUyAjEyOANCBgiA8tbKBloQCgNhcHASCcO8bsOvY29kZVohChprdWJlcm5ldGVzLmlvL3NlcnZpY2UtbmFtZRIDd2ViYkgK' +
  'MGVuZHBvaW50cy5rdWJlcm5ldGVzLmlvL2xhc3QtY2hhbmdlLXRyaWdnZXItdGltZRIUMjAyNi0wMS0wMVQwMDowMDowMFpqEwoH' +
  'U2VydmljZRoDd2ViIgF2MAESPQoIMTAuMS4yLjMSBggBEAEYACIICgNQb2QaAXAyBm5vZGUtMToBYUIUCgMKAWEKAwoBYhIICgZu' +
  'b2RlLTESHQoIMTAuMS4yLjQSBggAEAEYARoBaDIGbm9kZS0yGgoKABIDVENQGJA/GgoKA2FsbBIDVURQIgRJUHY0GgAiAA==';
const SLICE: EndpointSlice = {
  metadata: {
    name: 'web-abcde',
    namespace: 'shop',
    resourceVersion: '12',
    labels: { app: 'ünïcode', 'kubernetes.io/service-name': 'web' },
    annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': '2026-01-01T00:00:00Z' },
  },
  addressType: 'IPv4',
  endpoints: [
    {
      addresses: ['10.1.2.3'],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: 'node-1',
      hints: {
        forZones: [{ name: 'a' }, { name: 'b' }],
        forNodes: [{ name: 'node-1' }],
      } as { forZones: { name: string }[] },
    },
    {
      addresses: ['10.1.2.4'],
      conditions: { ready: false, serving: true, terminating: true },
      nodeName: 'node-2',
    },
  ],
  ports: [
    { name: '', protocol: 'TCP', port: 8080 },
    { name: 'all', protocol: 'UDP' },
  ],
};

const SERVICES =
  'azhzAAoRCgJ2MRILU2VydmljZUxpc3QSyAIKBhIENDcxMhK9AgpBCgN3ZWIaBHNob3AyATlaMQooc2VydmljZS5rdWJlcm5ldGVz' +
  'LmlvL3NlcnZpY2UtcHJveHktbmFtZRIFb3RoZXISzAEKGgoEaHR0cBIDVENQGFAiBwgAEJA/GgAogOsBChAKA2RucxIDVURQGP//' +
  'AygAEgoKA2FwcBIDd2ViGgkxMC45Ni4wLjEiDExvYWRCYWxhbmNlcioJMTkyLjAuMi4xOghDbGllbnRJUEIASgoxMC4wLjAuMC84' +
  'UgBaBUxvY2FsYJjyAXIECgIIZIoBD1ByZWZlckR1YWxTdGFja5IBCTEwLjk2LjAuMZIBB2ZkMDA6OjGaAQRJUHY0mgEESVB2NqAB' +
  'AbIBB0NsdXN0ZXIaKQonChUKDDE5OC41MS4xMDAuMRIAGgNWSVAKDgoAEgpsYi5leGFtcGxlGgAiAA==';
const SERVICE: Service = {
  metadata: {
    name: 'web',
    namespace: 'shop',
    resourceVersion: '9',
    labels: { 'service.kubernetes.io/service-proxy-name': 'other' },
  },
  spec: {
    ports: [
      { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
      { name: 'dns', protocol: 'UDP', port: 65535, nodePort: 0 },
    ],
    clusterIP: '10.96.0.1',
    clusterIPs: ['10.96.0.1', 'fd00::1'],
    type: 'LoadBalancer',
    externalIPs: ['192.0.2.1'],
    sessionAffinity: 'ClientIP',
    loadBalancerSourceRanges: ['10.0.0.0/8'],
    externalTrafficPolicy: 'Local',
    healthCheckNodePort: 31000,
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 100 } },
    internalTrafficPolicy: 'Cluster',
  },
  status: { loadBalancer: { ingress: [{ ip: '198.51.100.1', ipMode: 'VIP' }, {}] } },
};

function only(base64: string, message: ProtoMessage): unknown {
  const [item] = readListPage('test', Buffer.from(base64, 'base64'), message).items;
  return item;
}

const ours = (object: Service): Service => ({ ...object, metadata: { ...object.metadata, labels: {} } });

test.each([
  { nodeName: 'node-1', zone: 'b' },
  { nodeName: 'node-2', zone: 'c' },
])('an EndpointSlice in protobuf is what it is in JSON: %o', (topology) => {
  const slice = only(SLICES, sliceMessage(topology)) as SliceReading;
  expect(slice.metadata).toMatchObject({ name: 'web-abcde', namespace: 'shop', resourceVersion: '12' });
  const spec = projectReadSlice(slice);
  expect(spec).toEqual(projectSlice(SLICE, topology));
  expect(spec).toMatchObject({ service: 'shop/web', ports: [{ port: 8080 }] });
  expect(spec.endpoints.map(({ address }) => address)).toEqual(['10.1.2.3', '10.1.2.4']);
});

test('a Service in protobuf is what it is in JSON', () => {
  const service = only(SERVICES, SERVICE_MESSAGE) as Service;
  expect(service).toEqual(SERVICE);
  expect(projectReadService(service)).toEqual(projectService(SERVICE));
  expect(projectReadService(ours(service))).toEqual(projectService(ours(SERVICE)));
  expect(projectReadService(ours(service)).addresses).toHaveLength(2);
});
