import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { describe, expect, test } from 'vitest';
import { projectService } from './service-spec.ts';
import { LOCAL, projectSlice, READY, ZONE_HINTS } from './slice-spec.ts';

const told = (problems: readonly { field: string }[]): string[] => problems.map(({ field }) => field);

const slice = (parts: object): EndpointSlice => ({
  metadata: { namespace: 'shop', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints: [],
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  ...parts,
});

describe('fields of another kind than the API has', () => {
  test('of a Service are told of, null is absent, and the rest stays', () => {
    const spec = {
      clusterIP: '10.96.0.7',
      clusterIPs: null,
      type: 'LoadBalancer',
      ports: [
        null,
        'http',
        { name: 5, port: 80 },
        { port: '81' },
        { port: 82, nodePort: { toString: 1 } },
        { port: 83, protocol: null },
      ],
      externalIPs: [['192.0.2.1'], '192.0.2.2'],
      loadBalancerSourceRanges: '10.0.0.0/8',
      sessionAffinity: 'ClientIP',
      sessionAffinityConfig: 'x',
    };
    const object = {
      metadata: { namespace: 'shop', name: 'web', labels: null },
      spec,
      status: { loadBalancer: { ingress: [null, { ip: ['192.0.2.3'] }, { ip: '192.0.2.4' }] } },
    };
    const { addresses, ports, affinitySeconds, problems } = projectService(object as unknown as Service);
    expect(addresses).toEqual([
      {
        family: 4,
        address: '10.96.0.7',
        externalIps: ['192.0.2.2'],
        loadBalancerIps: ['192.0.2.4'],
        sourceRanges: ['10.0.0.0/8'],
      },
    ]);
    expect(ports.map(({ port, name }) => `${name}${port}`)).toEqual(['80', '82', '83']);
    expect(affinitySeconds).toBe(10_800);
    expect(told(problems)).toEqual([
      'spec.externalIPs[0]',
      'spec.loadBalancerSourceRanges',
      'spec.ports[1]',
      'spec.ports[2].name',
      'spec.ports[3].port',
      'spec.ports[4].nodePort',
      'spec.sessionAffinityConfig',
      'status.loadBalancer.ingress[1].ip',
      'spec.ports[0].port',
      'spec.ports[1].port',
    ]);
  });

  test('of source ranges admit nobody', () => {
    const ranges = { type: 'LoadBalancer', clusterIP: '10.96.0.7', loadBalancerSourceRanges: { a: 1 } };
    const status = { loadBalancer: { ingress: [{ ip: '192.0.2.4' }] } };
    const { addresses } = projectService({ spec: ranges, status } as unknown as Service);
    expect(addresses[0]?.sourceRanges).toEqual([]);
  });

  test('of a slice are told of, and the other endpoints stay', () => {
    const { ports, endpoints, problems } = projectSlice(
      slice({
        ports: [null, { name: ['http'], port: 80 }, { port: '81' }],
        endpoints: [
          null,
          { addresses: '10.244.0.1' },
          { addresses: [['10.244.0.2']] },
          { addresses: ['10.244.0.3'], conditions: 'x', nodeName: ['node-7'], hints: { forZones: 'a' } },
          { addresses: ['10.244.0.4'], hints: { forZones: [null, { name: 5 }] }, nodeName: 'node-7' },
        ],
      }),
      'node-7',
    );
    expect(ports).toEqual([{ name: '', protocol: 'TCP', port: 80 }]);
    expect(endpoints).toEqual([
      { address: '10.244.0.1', state: READY },
      { address: '10.244.0.3', state: READY },
      { address: '10.244.0.4', state: READY | LOCAL | ZONE_HINTS },
    ]);
    expect(told(problems)).toEqual([
      'ports[1].name',
      'ports[2].port',
      'endpoints[1].addresses',
      'endpoints[2].addresses[0]',
      'endpoints[3].conditions',
      'endpoints[3].nodeName',
      'endpoints[3].hints.forZones',
      'endpoints[4].hints.forZones[1].name',
      'endpoints[0].addresses[0]',
    ]);
  });

  test('never keep an object from being read, wherever they stand', () => {
    const whole = {
      metadata: { namespace: 'shop', name: 'web', labels: {} },
      spec: {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.7'],
        externalIPs: ['192.0.2.1'],
        loadBalancerSourceRanges: ['10.0.0.0/8'],
        ports: [{ name: 'http', port: 80, protocol: 'TCP', nodePort: 30080 }],
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 10 } },
      },
      status: { loadBalancer: { ingress: [{ ip: '192.0.2.4' }] } },
    };
    const parts = slice({
      endpoints: [
        {
          addresses: ['10.244.0.1'],
          conditions: { ready: true },
          nodeName: 'node-7',
          hints: { forZones: [{ name: 'a' }] },
        },
      ],
    });
    const wrong: unknown[] = [null, 5, 'x', true, [], {}, [null], [5], { toString: 1, length: 3 }];
    for (const [object, project] of [
      [whole, projectService],
      [parts, (one: EndpointSlice) => projectSlice(one, 'node-7')],
    ] as const) {
      for (const path of pathsOf(object)) {
        for (const value of wrong) {
          const copy = structuredClone(object) as Record<string, unknown>;
          put(copy, path, value);
          expect(() => project(copy as never), `${path.join('.')} = ${JSON.stringify(value)}`).not.toThrow();
        }
      }
    }
  });
});

/** An object without them does not come so far. */
const NAMES: ReadonlySet<string> = new Set(['metadata.name', 'metadata.namespace']);

/** Every place in an object. */
function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  const here = path.length === 0 || NAMES.has(path.join('.')) ? [] : [[...path]];
  if (typeof value !== 'object' || value === null) return here;
  return [...here, ...Object.entries(value).flatMap(([name, part]) => pathsOf(part, [...path, name]))];
}

function put(object: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [first = '', ...rest] = path;
  if (rest.length === 0) object[first] = value;
  else put(object[first] as Record<string, unknown>, rest, value);
}
