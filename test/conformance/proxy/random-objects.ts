import fc from 'fast-check';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { NAMESPACE } from './objects.ts';
import { ADDRESSES, NODE_NAME, OTHER_NODE_NAME } from './topology.ts';
import type { TracedPacket } from './verdict.ts';

// Few names, addresses and ports: Services get into each other's way, as those do that follow one another.

type ServicePart = Required<Pick<NonNullable<Service['spec']>, 'type' | 'clusterIPs' | 'ports'>> &
  NonNullable<Service['spec']>;

/** What a step makes of an object: all of it anew, or some parts while the others stay. */
export type Change =
  | {
      readonly kind: 'service';
      readonly name: string;
      readonly spec: ServicePart;
      readonly ingress: readonly object[];
      readonly foreign: boolean;
      /** Parts that change if the object is there; the others stay. */
      readonly parts: readonly string[];
    }
  | { readonly kind: 'no service'; readonly name: string }
  | { readonly kind: 'slice'; readonly slice: EndpointSlice }
  | { readonly kind: 'endpoints'; readonly slice: EndpointSlice }
  | { readonly kind: 'no slice'; readonly name: string };

const NAMES = ['web', 'dns', 'shop', 'cart', 'mail', 'feed'] as const;
const SLICES = NAMES.flatMap((name) =>
  [4, 6].flatMap((family) => [0, 1].map((one) => `${name}-${family}-${one}`)),
);

const seldom = <T>(usual: fc.Arbitrary<T>, odd: fc.Arbitrary<NoInfer<T>>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 14, arbitrary: usual }, { weight: 1, arbitrary: odd });

export const POOL = {
  clusterIps: {
    4: ['10.96.0.1', '10.96.0.2', '10.96.0.3', '10.96.0.4', '10.96.0.5', '10.96.0.6'],
    6: ['fd00:10:96::1', 'fd00:10:96::2', 'fd00:10:96::3', 'fd00:10:96::4', 'fd00:10:96::5', 'fd00:10:96::6'],
  },
  outside: {
    4: ['192.0.2.1', '192.0.2.2', '198.51.100.1'],
    6: ['2001:db8:2::1', '2001:db8:2::2', '2001:db8:51::1'],
  },
  ports: [80, 443, 53],
  nodePorts: [30_080, 30_443, 30_053, 30_001],
  protocols: ['TCP', 'UDP', 'SCTP'],
} as const;

const BAD_ADDRESSES = ['', 'example.com', '10.96.0.256', '127.0.0.1', '::', 'fe80::1', '; flush ruleset'];
const RANGES = ['10.250.0.0/24', '10.244.1.0/24', '10.250.0.3/32', '10.250.0.1/32', '0.0.0.0/0'];
const RANGES6 = ['fd00:250::/64', 'fd00:10:244:1::/64', 'fd00:250::3/128', '::/0'];
const BAD_RANGES = ['10.0.0.0/33', 'anywhere', '10.250.0.3', 'fd00::/129', ' 10.250.0.0/24 '];

const clusterIps = fc
  .tuple(
    seldom<string>(fc.constantFrom(...POOL.clusterIps[4]), fc.constantFrom(...BAD_ADDRESSES)),
    seldom<string>(fc.constantFrom(...POOL.clusterIps[6]), fc.constantFrom(...BAD_ADDRESSES)),
    fc.constantFrom('both', 'both', 'six first', 'four', 'six', 'none'),
  )
  .map(([four, six, which]) => {
    const lists: Record<string, string[]> = { both: [four, six], four: [four], six: [six], none: ['None'] };
    return lists[which] ?? [six, four];
  });

const port = seldom<{ port: number; protocol: string; nodePort?: number }>(
  fc.record(
    {
      port: fc.constantFrom<number>(...POOL.ports),
      protocol: fc.constantFrom('TCP', 'TCP', 'UDP', 'SCTP'),
      nodePort: fc.constantFrom<number>(...POOL.nodePorts),
    },
    { requiredKeys: ['port', 'protocol'] },
  ),
  fc.record({
    port: fc.constantFrom(0, -1, 65_536, 80.5, 80),
    protocol: fc.constantFrom('ICMP', 'tcp', 'TCP'),
    nodePort: fc.constantFrom(70_000, -5, 0, 30_080),
  }),
);

/** Each port has a name of its own, as the API demands where there are several. */
const ports = fc
  .array(port, { minLength: 1, maxLength: 3 })
  .map((all) => all.map((one, index) => ({ ...one, name: all.length === 1 ? '' : `port-${index}` })));

const outsideAddress = seldom<string>(
  fc.constantFrom(...POOL.outside[4], ...POOL.outside[6]),
  fc.constantFrom(...BAD_ADDRESSES, POOL.clusterIps[4][0], POOL.clusterIps[6][1]),
);

const policy = seldom<string>(fc.constantFrom('Cluster', 'Local'), fc.constantFrom('local', 'Somewhere', ''));

const spec: fc.Arbitrary<ServicePart> = fc
  .record(
    {
      type: seldom<string>(
        fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
        fc.constant('ExternalName'),
      ),
      clusterIPs: clusterIps,
      ports,
      externalIPs: fc.array(outsideAddress, { maxLength: 2 }),
      loadBalancerSourceRanges: fc.oneof(
        fc.constant<string[]>([]),
        fc.array(seldom<string>(fc.constantFrom(...RANGES, ...RANGES6), fc.constantFrom(...BAD_RANGES)), {
          maxLength: 3,
        }),
      ),
      externalTrafficPolicy: policy,
      internalTrafficPolicy: policy,
      sessionAffinity: seldom<string>(fc.constantFrom('None', 'None', 'ClientIP'), fc.constant('Cookie')),
      timeout: seldom<number>(fc.constantFrom(10, 10_800), fc.constantFrom(0, -1, 1_000_000)),
    },
    { requiredKeys: ['type', 'clusterIPs', 'ports', 'timeout'] },
  )
  .map(({ timeout, ...rest }) => ({
    ...rest,
    clusterIP: rest.clusterIPs[0] ?? '',
    // Only these types have node ports; the others seldom keep one from before.
    ports: rest.ports.map(({ nodePort, ...one }) =>
      rest.type === 'ClusterIP' || nodePort === undefined ? one : { ...one, nodePort },
    ),
    sessionAffinityConfig: { clientIP: { timeoutSeconds: timeout } },
  }));

const ingress = fc.array(
  seldom<object>(
    fc.record({ ip: outsideAddress, ipMode: fc.constantFrom('VIP', 'Proxy') }, { requiredKeys: ['ip'] }),
    fc.constantFrom({ hostname: 'lb.example.com' }, { ip: '192.0.2.1', ipMode: 'Mystery' }, { ip: 'lb' }),
  ),
  { maxLength: 2 },
);

const PARTS = [
  'type',
  'clusterIPs',
  'ports',
  'externalIPs',
  'loadBalancerSourceRanges',
  'externalTrafficPolicy',
  'internalTrafficPolicy',
  'sessionAffinity',
  'ingress',
];

const endpointAddress = (family: 4 | 6): fc.Arbitrary<string> => {
  const at = ADDRESSES[family];
  const here = family === 4 ? '10.244.1.' : 'fd00:10:244:1::';
  const there = family === 4 ? '10.244.2.' : 'fd00:10:244:2::';
  const good = [at.pod, at['other-pod'], at['remote-pod'], `${here}12`, `${there}11`, at.node];
  const bad = [...BAD_ADDRESSES, ADDRESSES[family === 4 ? 6 : 4].pod];
  return seldom<string>(fc.constantFrom(...good), fc.constantFrom(...bad));
};

const conditions = fc.oneof(
  { weight: 4, arbitrary: fc.constant({ ready: true }) },
  { weight: 1, arbitrary: fc.constant({}) },
  { weight: 1, arbitrary: fc.constant({ ready: false, serving: true, terminating: true }) },
  { weight: 1, arbitrary: fc.constant({ ready: false, serving: false, terminating: true }) },
  { weight: 1, arbitrary: fc.constant({ ready: false }) },
);

const named = (names: readonly string[]): fc.Arbitrary<{ name: string }[]> =>
  fc.array(
    fc.constantFrom(...names).map((name) => ({ name })),
    { minLength: 1, maxLength: 2 },
  );

const hints = fc.record(
  { forZones: named(['east', 'west']), forNodes: named([NODE_NAME, OTHER_NODE_NAME, 'third']) },
  { requiredKeys: [] },
);

const endpoint = (family: 4 | 6): fc.Arbitrary<EndpointSlice['endpoints'][0]> =>
  fc
    .record({
      address: endpointAddress(family),
      conditions,
      remote: fc.boolean(),
      hints: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: hints }),
    })
    .map(({ address, conditions: state, hints: some }) => ({
      addresses: address === '' ? [] : [address],
      conditions: state,
      // A pod is on one node, and all slices agree on which.
      ...(address.includes('1.1') || address.includes(':1::') ? { nodeName: NODE_NAME } : {}),
      ...(address.includes('2.1') || address.includes(':2::') ? { nodeName: OTHER_NODE_NAME } : {}),
      ...(some === undefined ? {} : { hints: some }),
    }));

const targetPorts = fc
  .record({
    number: seldom<number | undefined>(
      fc.constantFrom<number | undefined>(8080, 8081, 53),
      fc.constantFrom(0, 65_536, undefined),
    ),
    names: fc.constantFrom([''], ['port-0', 'port-1', 'port-2'], ['', 'port-0', 'port-1'], ['port-1']),
    protocols: fc.constantFrom(['TCP'], ['TCP', 'UDP'], ['TCP', 'UDP', 'SCTP']),
  })
  .map(({ number, names, protocols }) =>
    names.flatMap((name) =>
      protocols.map((protocol) => ({ name, protocol, ...(number === undefined ? {} : { port: number }) })),
    ),
  );

const slice = fc.constantFrom(...SLICES).chain((name) => {
  const [service = '', digit] = name.split('-');
  const family = digit === '4' ? 4 : 6;
  return fc
    .record({
      // A slice's Service seldom changes; but it may.
      owner: seldom<string>(fc.constant(service), fc.constantFrom(...NAMES, '')),
      type: seldom<string>(fc.constant(`IPv${family}`), fc.constantFrom('FQDN', 'IPv4', 'IPv6', 'Carrier')),
      endpoints: fc.array(endpoint(family), { maxLength: 4 }),
      ports: targetPorts,
    })
    .map(({ owner, type, endpoints, ports: targets }): EndpointSlice => ({
      metadata: {
        namespace: NAMESPACE,
        name,
        ...(owner === '' ? {} : { labels: { 'kubernetes.io/service-name': owner } }),
      },
      addressType: type,
      endpoints,
      ports: targets,
    }));
});

export const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('service' as const),
      name: fc.constantFrom(...NAMES),
      spec,
      ingress,
      foreign: seldom<boolean>(fc.constant(false), fc.constant(true)),
      parts: fc.subarray(PARTS, { minLength: 1, maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('no service' as const), name: fc.constantFrom(...NAMES) }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('slice' as const), slice }) },
  // The usual change: endpoints come and go, ports stay.
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('endpoints' as const), slice }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('no slice' as const), name: fc.constantFrom(...SLICES) }),
  },
);

const sources = (family: 4 | 6): fc.Arbitrary<Pick<TracedPacket, 'source' | 'inputDevice'>> => {
  const at = ADDRESSES[family];
  return fc.constantFrom(
    { source: at.pod, inputDevice: 'cni0' },
    { source: at['other-pod'], inputDevice: 'cni0' },
    { source: at['remote-pod'], inputDevice: 'eth0' },
    { source: at.outside, inputDevice: 'eth0' },
    { source: at.node, inputDevice: undefined },
  );
};

/** Packets to where Services may be. */
export const packet: fc.Arbitrary<TracedPacket> = fc.constantFrom(4 as const, 6 as const).chain((family) => {
  const at = ADDRESSES[family];
  const unallocated = family === 4 ? '10.96.7.7' : 'fd00:10:96::77';
  const service = [...POOL.clusterIps[family], ...POOL.outside[family], unallocated];
  const toService = fc.record({
    destination: fc.constantFrom<string>(...service),
    port: fc.constantFrom<number>(...POOL.ports, 81),
  });
  const toNode = fc.record({
    destination: fc.constantFrom<string>(at.node, at.nodeSecond, at.bridge, at.loopback),
    port: fc.constantFrom<number>(...POOL.nodePorts, 30_999),
  });
  return fc
    .tuple(
      sources(family),
      fc.oneof({ weight: 3, arbitrary: toService }, { weight: 1, arbitrary: toNode }),
      fc.constantFrom(...POOL.protocols),
    )
    .map(([from, to, protocol]) => {
      // Loopback addresses are called from loopback addresses only.
      const loopback = to.destination === at.loopback;
      return {
        ...from,
        ...(loopback ? { source: at.loopback, inputDevice: undefined } : {}),
        ...to,
        protocol,
      };
    });
});
