import type { Pod, Service } from 'kubernetes-types/core/v1.js';
import { expect, test } from 'vitest';
import { endpointGroups } from './service-endpoints.ts';

const pod = (number: number, nodeName: string, ready = true): Pod => ({
  metadata: { name: `pod-${number}`, namespace: 'test' },
  spec: { nodeName, containers: [] },
  status: {
    podIP: `10.244.0.${number}`,
    conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
  },
});
const PODS = [pod(1, 'node-1'), pod(2, 'node-2', false), pod(3, 'node-3')];
const ZONES: Readonly<Record<string, string>> = { 'node-1': 'a', 'node-2': 'b' };

function hints(trafficDistribution?: string): unknown[] {
  const spec = { selector: { app: 'web' }, clusterIP: '10.96.0.1', ports: [{ port: 80 }] };
  const service: Service = {
    metadata: { name: 'web', namespace: 'test' },
    spec: { ...spec, ...(trafficDistribution === undefined ? {} : { trafficDistribution }) },
  };
  return endpointGroups(service, PODS, (node) => ZONES[node]).flatMap(({ endpoints }) =>
    endpoints.map((endpoint) => endpoint.hints),
  );
}

test('trafficDistribution: ready endpoints are for their zone, and their node where that is wanted', () => {
  expect(hints()).toEqual([undefined, undefined, undefined]);
  for (const wish of ['PreferClose', 'PreferSameZone']) {
    expect(hints(wish)).toEqual([{ forZones: [{ name: 'a' }] }, undefined, undefined]);
  }
  expect(hints('PreferSameNode')).toEqual([
    { forZones: [{ name: 'a' }], forNodes: [{ name: 'node-1' }] },
    undefined,
    { forNodes: [{ name: 'node-3' }] },
  ]);
  expect(hints('ElseWhere')).toEqual([undefined, undefined, undefined]);
});
