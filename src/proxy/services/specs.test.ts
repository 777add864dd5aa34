import { describe, expect, test } from 'vitest';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { projectService } from './service-spec.ts';
import {
  FOR_THIS_NODE,
  FOR_THIS_ZONE,
  LOCAL,
  NODE_HINTS,
  projectSlice,
  READY,
  SERVING_TERMINATING,
  ZONE_HINTS,
} from './slice-spec.ts';

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

const NO_ACCESS = { externalIps: [], loadBalancerIps: [], sourceRanges: undefined };

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
        { family: 4, address: '10.96.0.7', ...NO_ACCESS },
        { family: 6, address: 'fd00:10:96::7', ...NO_ACCESS },
      ],
      ports: [
        { name: 'http', protocol: 'TCP', port: 80, nodePort: 30080 },
        { name: 'dns', protocol: 'UDP', port: 53, nodePort: 0 },
      ],
      affinitySeconds: 10_800,
      internalLocal: false,
      externalLocal: false,
      healthCheckNodePort: 0,
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
    addresses: [{ family: 4, address: '10.96.0.7', ...NO_ACCESS }],
    affinitySeconds: 0,
  });
  expect(problems.map(({ field }) => field)).toEqual(['spec.sessionAffinity']);
});

const balancer = (spec: Service['spec'], ingress: object[] = [{ ip: '198.51.100.1' }]): Service => ({
  metadata: { namespace: 'shop', name: 'web' },
  spec: {
    type: 'LoadBalancer',
    clusterIPs: ['10.96.0.7', 'fd00::7'],
    ports: [{ port: 80, nodePort: 30080 }],
    ...spec,
  },
  status: { loadBalancer: { ingress } },
});
const read = (object: Service): Record<string, unknown> => {
  const { addresses, problems, ...rest } = projectService(object);
  const pick = (field: 'externalIps' | 'loadBalancerIps' | 'sourceRanges'): unknown[] =>
    addresses.map((address) => address[field]);
  return {
    externalIps: pick('externalIps'),
    loadBalancerIps: pick('loadBalancerIps'),
    sourceRanges: pick('sourceRanges'),
    policies: [rest.internalLocal, rest.externalLocal],
    healthCheckNodePort: rest.healthCheckNodePort,
    problems: problems.map(({ field }) => field),
  };
};

describe('what is reached from outside', () => {
  test('goes to the family that it is of, once', () => {
    const spec = { externalIPs: ['192.0.2.1', '2001:DB8:0::1', '192.0.2.1', '198.51.100.1', '10.96.0.7'] };
    expect(
      read(balancer(spec, [{ ip: '198.51.100.1' }, { ip: '2001:db8::2', ipMode: 'VIP' }])),
    ).toMatchObject({
      externalIps: [['192.0.2.1'], ['2001:db8::1']],
      loadBalancerIps: [['198.51.100.1'], ['2001:db8::2']],
      problems: [],
    });
  });

  test('leaves out load balancers that come by node port, and those of Services of another type', () => {
    const ingress = [{ hostname: 'lb.example' }, { ip: '198.51.100.1', ipMode: 'Proxy' }];
    expect(read(balancer({}, ingress))).toMatchObject({ loadBalancerIps: [[], []], problems: [] });
    expect(read(balancer({ type: 'NodePort' }))).toMatchObject({ loadBalancerIps: [[], []], problems: [] });
  });

  test('is told of where it cannot be, and the rest stays', () => {
    const externalIPs = [
      '192.0.2.300',
      '127.0.0.1',
      '::',
      '169.254.1.1',
      'fe80::1',
      '224.0.0.1',
      '192.0.2.1',
    ];
    const ingress = [{ ip: 'x' }, { ip: '198.51.100.1', ipMode: 'Odd' }, { ip: '198.51.100.2' }];
    expect(read(balancer({ externalIPs }, ingress))).toMatchObject({
      externalIps: [['192.0.2.1'], []],
      loadBalancerIps: [['198.51.100.2'], []],
      problems: [
        'status.loadBalancer.ingress[0].ip',
        'status.loadBalancer.ingress[1].ipMode',
        ...[0, 1, 2, 3, 4, 5].map((index) => `spec.externalIPs[${index}]`),
      ],
    });
  });

  test.each<[string[], (string[] | undefined)[], number]>([
    [[], [undefined, undefined], 0],
    [[' 10.1.2.3/8 ', '192.0.2.0/24', '10.0.0.0/8'], [['10.0.0.0/8', '192.0.2.0/24'], undefined], 0],
    [['10.0.0.0/8', '2001:DB8::/32'], [['10.0.0.0/8'], ['2001:db8::/32']], 0],
    [['10.0.0.0/33', '192.0.2.0/24'], [['192.0.2.0/24'], undefined], 1],
    [['10.0.0.0/33'], [[], []], 1],
    [['10.0.0.0/33', '2001:db8::/32'], [[], ['2001:db8::/32']], 1],
    [['2001:db8::/129', '192.0.2.0/24'], [['192.0.2.0/24'], []], 1],
  ])('admits of the source ranges %j those of the family: %j', (ranges, expected, problems) => {
    const { sourceRanges, problems: told } = read(balancer({ loadBalancerSourceRanges: ranges }));
    expect(sourceRanges).toEqual(expected);
    expect(told).toHaveLength(problems);
  });

  test.each([
    ['LoadBalancer', {}, [false, true], 32_000],
    ['NodePort', {}, [false, true], 0],
    ['ClusterIP', {}, [false, false], 0],
    ['ClusterIP', { externalIPs: ['192.0.2.1'] }, [false, true], 0],
    ['LoadBalancer', { internalTrafficPolicy: 'Local' }, [true, true], 32_000],
    ['LoadBalancer', { externalTrafficPolicy: 'Cluster' }, [false, false], 0],
  ])('of type %s with %j has the policies %j and health check port %i', (type, more, policies, port) => {
    const spec = { type, externalTrafficPolicy: 'Local', healthCheckNodePort: 32_000, ...more };
    expect(read(balancer(spec))).toMatchObject({ policies, healthCheckNodePort: port, problems: [] });
  });

  test('with policies, health check and node ports that cannot be is told of each', () => {
    const spec = {
      externalTrafficPolicy: 'Local',
      internalTrafficPolicy: 'local',
      healthCheckNodePort: 65_536,
      ports: [
        { port: 80, nodePort: 30080 },
        { name: 'b', port: 81, nodePort: 30080 },
        { name: 'c', port: 81, protocol: 'UDP', nodePort: 30080 },
      ],
    };
    const { ports } = projectService(balancer(spec));
    expect(ports.map(({ nodePort }) => nodePort)).toEqual([30080, 0, 30080]);
    expect(read(balancer(spec))).toMatchObject({
      policies: [false, true],
      healthCheckNodePort: 0,
      problems: ['spec.ports[1].nodePort', 'spec.internalTrafficPolicy', 'spec.healthCheckNodePort'],
    });
  });
});

describe('an EndpointSlice', () => {
  test.each([
    [undefined, READY],
    [{ ready: true, terminating: true }, READY],
    [{ ready: false, serving: true, terminating: true }, SERVING_TERMINATING],
    [{ ready: false, serving: false, terminating: true }, undefined],
    [{ ready: false, serving: true, terminating: false }, undefined],
    [{ ready: false }, undefined],
    [{ ready: false, terminating: true }, SERVING_TERMINATING],
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

  test.each<[Record<string, string[]>, number]>([
    [{}, 0],
    [{ forZones: [] }, 0],
    [{ forZones: ['b'] }, ZONE_HINTS],
    [{ forZones: ['b', 'a'] }, ZONE_HINTS | FOR_THIS_ZONE],
    [{ forZones: ['a'], forNodes: ['node-2'] }, ZONE_HINTS | FOR_THIS_ZONE | NODE_HINTS],
    [{ forZones: ['b'], forNodes: ['node-1'] }, ZONE_HINTS | NODE_HINTS | FOR_THIS_NODE],
  ])('endpoint with hints %j keeps what they mean here', (hints, bits) => {
    const named = Object.entries(hints).map(([kind, names]) => [kind, names.map((name) => ({ name }))]);
    const endpoint = { addresses: ['10.244.1.2'], hints: Object.fromEntries(named) as object };
    const { endpoints } = projectSlice(slice({ endpoints: [endpoint] }), { nodeName: 'node-1', zone: 'a' });
    expect(endpoints).toEqual([{ address: '10.244.1.2', state: READY | bits }]);
  });

  test('of loopback, link-local and multicast addresses is told of: they would lead into the node itself', () => {
    const bad = ['127.0.0.1', '0.0.0.0', '169.254.169.254', '224.0.0.251'];
    const endpoints = [...bad, '10.244.1.2'].map((address) => ({ addresses: [address] }));
    const spec = projectSlice(slice({ endpoints }), 'node-1');
    expect(spec.endpoints.map(({ address }) => address)).toEqual(['10.244.1.2']);
    expect(spec.problems).toHaveLength(bad.length);
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
