import { describe, expect, test } from 'vitest';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { projectService } from './service-spec.ts';
import { LOCAL, projectSlice, READY, SERVING_TERMINATING } from './slice-spec.ts';

const service = (spec: Service['spec'], labels: Record<string, string> = {}): Service => ({
  metadata: { namespace: 'shop', name: 'web', labels },
  ...(spec === undefined ? {} : { spec }),
});

const slice = (parts: Partial<EndpointSlice>): EndpointSlice => ({
  metadata: { namespace: 'shop', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  endpoints: [],
  ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
  ...parts,
});

describe('a Service', () => {
  test('of both families keeps what is needed to balance it', () => {
    const spec = projectService(
      service({
        clusterIP: '10.96.0.7',
        clusterIPs: ['10.96.0.7', 'FD00:10:96:0::7'],
        ports: [
          { name: 'http', port: 80, nodePort: 30080 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
        sessionAffinity: 'ClientIP',
      }),
    );
    expect(spec).toEqual({
      key: 'shop/web',
      addresses: [
        { family: 4, address: '10.96.0.7' },
        { family: 6, address: 'fd00:10:96::7' },
      ],
      ports: [
        { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
        { name: 'dns', protocol: 'UDP', port: 53, nodePort: 0 },
      ],
      affinitySeconds: 10_800,
      problems: [],
    });
  });

  test.each([
    ['headless', service({ clusterIP: 'None', ports: [{ port: 80 }] })],
    ['an external name', service({ type: 'ExternalName', externalName: 'example.org' })],
    ['not yet given an address', service({ ports: [{ port: 80 }] })],
    [
      'of another proxy',
      service({ clusterIP: '10.96.0.7' }, { 'service.kubernetes.io/service-proxy-name': 'other' }),
    ],
    ['without spec', service(undefined)],
    ['headless by its list alone', service({ clusterIPs: ['None'], ports: [{ port: 80 }] })],
  ])('that is %s is nothing to balance, and no problem', (_, object) => {
    const { addresses, problems } = projectService(object);
    expect({ addresses, problems }).toEqual({ addresses: [], problems: [] });
  });

  test('with bad fields is told of each, and the rest stays', () => {
    const { addresses, ports, affinitySeconds, problems } = projectService(
      service({
        clusterIP: '10.96.0.7',
        clusterIPs: ['10.96.0.7', '10.96.0.300', '10.96.0.8'],
        ports: [
          { port: 0 },
          { port: 80, protocol: 'ICMP' },
          { port: 81, nodePort: 70_000 },
          { port: 81 },
          { port: 82 },
        ],
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: -1 } },
      }),
    );
    expect(addresses.map(({ address }) => address)).toEqual(['10.96.0.7']);
    expect(ports.map(({ port, nodePort }) => [port, nodePort])).toEqual([
      [81, 0],
      [82, 0],
    ]);
    expect(affinitySeconds).toBe(10_800);
    expect(problems.map(({ object, field }) => `${object} ${field}`)).toEqual([
      'Service shop/web spec.clusterIPs[1]',
      'Service shop/web spec.clusterIPs[2]',
      'Service shop/web spec.ports[0].port',
      'Service shop/web spec.ports[1].protocol',
      'Service shop/web spec.ports[2].nodePort',
      'Service shop/web spec.ports[3].port',
      'Service shop/web spec.sessionAffinityConfig.clientIP.timeoutSeconds',
    ]);
  });
});

test('an address that stands in clusterIP alone counts; an unknown session affinity is told of', () => {
  const { addresses, affinitySeconds, problems } = projectService(
    service({ clusterIP: '10.96.0.7', clusterIPs: [], ports: [{ port: 80 }], sessionAffinity: 'Cookie' }),
  );
  expect({ addresses, affinitySeconds }).toEqual({
    addresses: [{ family: 4, address: '10.96.0.7' }],
    affinitySeconds: 0,
  });
  expect(problems.map(({ field }) => field)).toEqual(['spec.sessionAffinity']);
});

describe('an EndpointSlice', () => {
  test.each([
    [undefined, READY],
    [{ ready: true, terminating: true }, READY],
    [{ ready: false, serving: true, terminating: true }, SERVING_TERMINATING],
    [{ ready: false, serving: false, terminating: true }, undefined],
    [{ ready: false, serving: true, terminating: false }, undefined],
    [{ ready: false }, undefined],
    [{ terminating: true }, READY],
  ])('endpoint with conditions %j has state %j', (conditions, state) => {
    const endpoint = { addresses: ['10.244.1.2'], ...(conditions === undefined ? {} : { conditions }) };
    const { endpoints } = projectSlice(slice({ endpoints: [endpoint] }), 'node-1');
    expect(endpoints).toEqual(state === undefined ? [] : [{ address: '10.244.1.2', state }]);
  });

  test('tells endpoints of this node from others', () => {
    const endpoints = [
      { addresses: ['10.244.1.2'], nodeName: 'node-1' },
      { addresses: ['10.244.2.2'], nodeName: 'node-2' },
    ];
    expect(projectSlice(slice({ endpoints }), 'node-1').endpoints.map(({ state }) => state & LOCAL)).toEqual([
      LOCAL,
      0,
    ]);
  });

  test('with bad fields is told of each, and the rest stays', () => {
    const { endpoints, ports, problems } = projectSlice(
      slice({
        endpoints: [{ addresses: ['10.244.1'] }, { addresses: ['fd00::1'] }, { addresses: ['10.244.1.3'] }],
        ports: [{ port: 70_000 }, { port: 53, protocol: 'DCCP' }, {}, { name: 'http', port: 8080 }],
      }),
      'node-1',
    );
    expect(endpoints.map(({ address }) => address)).toEqual(['10.244.1.3']);
    expect(ports).toEqual([{ name: 'http', protocol: 'TCP', port: 8080 }]);
    expect(problems.map(({ object, field }) => `${object} ${field}`)).toEqual([
      'EndpointSlice shop/web-1 ports[0].port',
      'EndpointSlice shop/web-1 ports[1].protocol',
      'EndpointSlice shop/web-1 endpoints[0].addresses[0]',
      'EndpointSlice shop/web-1 endpoints[1].addresses[0]',
    ]);
  });

  test('of an unknown address type is told of, and none of its addresses is taken', () => {
    const odd = projectSlice(slice({ addressType: 'IPv5', endpoints: [{ addresses: ['10.0.0.1'] }] }), 'n');
    expect(odd).toMatchObject({ service: '', endpoints: [], problems: [{ field: 'addressType' }] });
  });

  test('of host names, or of no Service, is passed over', () => {
    expect(projectSlice(slice({ addressType: 'FQDN' }), 'n').service).toBe('');
    expect(projectSlice({ ...slice({}), metadata: { name: 'x', namespace: 'y' } }, 'n').service).toBe('');
  });
});
