import fc from 'fast-check';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { Endpoint, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { expect, test } from 'vitest';
import { ServiceModel } from './model.ts';
import type { ServicePort } from './service-port.ts';
import { projectService, type ServiceSpec } from './service-spec.ts';
import { projectSlice, type SliceSpec } from './slice-spec.ts';

const NODE = { nodeName: 'node-1', zone: 'a' };
const name = fc.constantFrom('a', 'b', 'c');
const portName = fc.constantFrom('http', 'dns');
const protocol = fc.constantFrom('TCP', 'UDP');
const policy = fc.constantFrom(undefined, 'Cluster', 'Local');

const serviceArb: fc.Arbitrary<Service> = fc
  .record({
    name,
    type: fc.constantFrom('ClusterIP', 'NodePort', 'LoadBalancer'),
    ip: fc.integer({ min: 1, max: 4 }),
    both: fc.boolean(),
    ports: fc.uniqueArray(
      fc.record({
        name: portName,
        protocol,
        port: fc.integer({ min: 80, max: 82 }),
        nodePort: fc.constantFrom(0, 30080),
      }),
      { selector: ({ protocol }) => protocol, maxLength: 2 },
    ),
    externalIPs: fc.subarray(['192.0.2.1', '2001:db8::1']),
    ingress: fc.subarray(['198.51.100.1', '2001:db8::2']),
    internalTrafficPolicy: policy,
    externalTrafficPolicy: policy,
  })
  .map(({ name, type, ip, both, ports, externalIPs, ingress, ...policies }) => ({
    metadata: { namespace: 'shop', name },
    spec: {
      type,
      clusterIPs: [`10.96.0.${ip}`, ...(both ? [`fd00::${ip}`] : [])],
      ports,
      externalIPs,
      ...(policies.internalTrafficPolicy === undefined
        ? {}
        : { internalTrafficPolicy: policies.internalTrafficPolicy }),
      ...(policies.externalTrafficPolicy === undefined
        ? {}
        : { externalTrafficPolicy: policies.externalTrafficPolicy }),
      healthCheckNodePort: 32000,
    },
    status: { loadBalancer: { ingress: ingress.map((address) => ({ ip: address })) } },
  }));

const hint = fc.subarray(['a', 'b'].map((name) => ({ name })));
const nodeHint = fc.subarray(['node-1', 'node-2'].map((name) => ({ name })));
interface GeneratedEndpoint {
  number: number;
  nodeName: string;
  conditions: { ready: boolean; serving: boolean; terminating: boolean };
  hints: { forZones: { name: string }[]; forNodes: { name: string }[] };
}

const endpointArb: fc.Arbitrary<GeneratedEndpoint> = fc
  .record({
    number: fc.integer({ min: 1, max: 5 }),
    nodeName: fc.constantFrom('node-1', 'node-2'),
    ready: fc.boolean(),
    serving: fc.boolean(),
    terminating: fc.boolean(),
    forZones: hint,
    forNodes: nodeHint,
  })
  .map(({ number, nodeName, ready, serving, terminating, forZones, forNodes }) => ({
    number,
    nodeName,
    conditions: { ready, serving: ready || serving, terminating },
    hints: { forZones, forNodes },
  }));

const sliceArb: fc.Arbitrary<EndpointSlice> = fc
  .record({
    service: fc.oneof(name, fc.constant('')),
    family: fc.constantFrom(4, 6),
    ports: fc.array(fc.record({ name: portName, protocol, port: fc.integer({ min: 8080, max: 8081 }) }), {
      maxLength: 2,
    }),
    // Some without any hints, as hints on half of the endpoints turn the topology off.
    endpoints: fc.oneof(
      fc.array(endpointArb, { maxLength: 4 }),
      fc.array(
        endpointArb.map((one): GeneratedEndpoint => ({
          ...one,
          hints: { forZones: one.hints.forZones, forNodes: [] },
        })),
        { maxLength: 4 },
      ),
    ),
  })
  .map(({ service, family, ports, endpoints }) => ({
    metadata: { namespace: 'shop', labels: service === '' ? {} : { 'kubernetes.io/service-name': service } },
    addressType: family === 4 ? 'IPv4' : 'IPv6',
    ports,
    endpoints: endpoints.map(({ number, ...rest }) => ({
      ...rest,
      addresses: [family === 4 ? `10.244.0.${number}` : `fd00:244::${number}`],
    })),
  }));

type Step =
  | { readonly do: 'service'; readonly object: Service }
  | { readonly do: 'no service'; readonly key: string }
  | { readonly do: 'slice'; readonly key: string; readonly object: EndpointSlice }
  | { readonly do: 'no slice'; readonly key: string }
  | { readonly do: 'drain' };

const sliceKey = fc.constantFrom('s1', 's2', 's3', 's4');
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('service' as const), object: serviceArb }),
    fc.record({ do: fc.constant('no service' as const), key: name.map((one) => `shop/${one}`) }),
    {
      arbitrary: fc.record({ do: fc.constant('slice' as const), key: sliceKey, object: sliceArb }),
      weight: 2,
    },
    fc.record({ do: fc.constant('no slice' as const), key: sliceKey }),
    fc.record({ do: fc.constant('drain' as const) }),
  ),
  { maxLength: 40 },
);

interface Selected {
  endpoints: string[];
  localEndpoints: string[];
  hasEndpoints: boolean;
  policies: unknown[];
}

interface KnownEndpoint {
  ready: boolean;
  terminating: boolean;
  local: boolean;
  zones: Set<string>;
  nodes: Set<string>;
}

/** The whole specification, slowly and from the objects themselves: every port against every endpoint. */
function expected(services: Iterable<Service>, slices: readonly EndpointSlice[]): Map<string, unknown> {
  const result = new Map<string, unknown>();
  for (const service of services) {
    for (const address of service.spec?.clusterIPs ?? []) {
      for (const port of service.spec?.ports ?? []) {
        const family = address.includes(':') ? 6 : 4;
        const mine = slices.filter(
          ({ metadata, addressType }) =>
            metadata?.labels?.['kubernetes.io/service-name'] === service.metadata?.name &&
            addressType === `IPv${family}`,
        );
        const protocol = port.protocol ?? 'TCP';
        result.set(`shop/${service.metadata?.name ?? ''}:${port.port}/${protocol}/${family}`, {
          address,
          port: port.port,
          ...slowSelection(
            collect(mine, port.name ?? '', protocol),
            policiesOf(service, port.nodePort, family),
          ),
        });
      }
    }
  }
  return result;
}

function collect(
  slices: readonly EndpointSlice[],
  name: string,
  protocol: string,
): Map<string, KnownEndpoint> {
  const all = new Map<string, KnownEndpoint>();
  const pairs = slices.flatMap(({ ports = [], endpoints }) =>
    ports
      .filter((port) => port.name === name && port.protocol === protocol)
      .flatMap(({ port }) => endpoints.map((endpoint): [number, Endpoint] => [port ?? 0, endpoint])),
  );
  for (const [port, { addresses, conditions, nodeName, hints }] of pairs) {
    const ready = conditions?.ready === true;
    const terminating = !ready && conditions?.serving === true && conditions.terminating === true;
    // Neither: it takes no connections, and its hints and place mean nothing.
    if (!ready && !terminating) continue;
    const key = `${addresses[0]} ${port}`;
    const known = all.get(key) ?? {
      ready: false,
      terminating: false,
      local: false,
      zones: new Set(),
      nodes: new Set(),
    };
    known.ready ||= ready;
    known.terminating ||= terminating;
    known.local ||= nodeName === NODE.nodeName;
    const { forZones = [], forNodes = [] } = (hints ?? {}) as Record<string, { name: string }[]>;
    if (ready) for (const { name } of forZones) known.zones.add(name);
    if (ready) for (const { name } of forNodes) known.nodes.add(name);
    all.set(key, known);
  }
  return all;
}

function policiesOf(service: Service, nodePort: number | undefined, family: 4 | 6): Record<string, boolean> {
  const { spec = {}, status } = service;
  const ofFamily = (address = ''): boolean => address.includes(':') === (family === 6);
  const outside =
    (nodePort ?? 0) !== 0 ||
    (spec.externalIPs ?? []).some(ofFamily) ||
    (spec.type === 'LoadBalancer' && (status?.loadBalancer?.ingress ?? []).some(({ ip }) => ofFamily(ip)));
  const internalLocal = spec.internalTrafficPolicy === 'Local';
  const external = spec.type !== 'ClusterIP' || (spec.externalIPs ?? []).length > 0;
  return { outside, internalLocal, externalLocal: external && spec.externalTrafficPolicy === 'Local' };
}

function slowSelection(all: Map<string, KnownEndpoint>, policies: Record<string, boolean>): Selected {
  const { outside, internalLocal, externalLocal } = policies;
  const list = [...all].map(([key, known]) => ({ key, ...known }));
  type Listed = (typeof list)[number];
  const show = (chosen: Listed[]): string[] => chosen.map(({ key, local }) => `${key} ${local}`).sort();
  const ready = list.filter((one) => one.ready);
  const best = (from: Listed[]): Listed[] =>
    from.some((one) => one.ready) ? from.filter((one) => one.ready) : from.filter((one) => one.terminating);
  let cluster = best(list);
  const everyNode = ready.length > 0 && ready.every(({ nodes }) => nodes.size > 0);
  const everyZone = ready.length > 0 && ready.every(({ zones }) => zones.size > 0);
  if (everyNode && ready.some(({ nodes }) => nodes.has(NODE.nodeName))) {
    cluster = cluster.filter(({ nodes }) => nodes.has(NODE.nodeName));
  } else if (everyZone && ready.some(({ zones }) => zones.has(NODE.zone))) {
    cluster = cluster.filter(({ zones }) => zones.has(NODE.zone));
  }
  const needsLocal = internalLocal === true || (externalLocal === true && outside === true);
  return {
    endpoints: internalLocal === true && outside !== true ? [] : show(cluster),
    localEndpoints: needsLocal ? show(best(list.filter(({ local }) => local))) : [],
    hasEndpoints: list.length > 0,
    policies: [internalLocal, externalLocal],
  };
}

function showEndpoints(list: ServicePort['endpoints']): string[] {
  return list.map(({ address, port, local }) => `${address} ${port} ${local}`).sort();
}

function shown(port: ServicePort): unknown {
  return {
    address: port.address,
    port: port.port,
    endpoints: showEndpoints(port.endpoints),
    localEndpoints: showEndpoints(port.localEndpoints),
    hasEndpoints: port.hasEndpoints,
    policies: [port.internalLocal, port.externalLocal],
  };
}

/** The model beside plain maps of the same objects, and what it told so far. */
class Follower {
  readonly model = new ServiceModel();
  readonly services = new Map<string, Service>();
  readonly slices = new Map<string, EndpointSlice>();
  readonly told = new Map<string, unknown>();
  readonly #projected = new Map<string, SliceSpec>();

  take(step: Step): void {
    switch (step.do) {
      case 'service':
        this.services.set(step.object.metadata?.name ?? '', step.object);
        return this.model.setService(projectService(step.object));
      case 'no service':
        this.services.delete(step.key.slice('shop/'.length));
        return this.model.deleteService(step.key);
      case 'slice': {
        const spec = projectSlice(step.object, NODE);
        this.model.setSlice(step.key, spec, this.#projected.get(step.key));
        this.#projected.set(step.key, spec);
        this.slices.set(step.key, step.object);
        return;
      }
      case 'no slice':
        return this.#deleteSlice(step.key);
      case 'drain':
        return this.drain();
    }
  }

  drain(): void {
    for (const { id, port } of this.model.drain()) {
      if (port === undefined) this.told.delete(id);
      else this.told.set(id, shown(port));
    }
  }

  #deleteSlice(key: string): void {
    const old = this.#projected.get(key);
    if (old !== undefined) this.model.deleteSlice(key, old);
    this.#projected.delete(key);
    this.slices.delete(key);
  }
}

test('what is told step by step adds up to what the objects say', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const follower = new Follower();
      for (const step of all) follower.take(step);
      follower.drain();
      const wanted = expected(follower.services.values(), [...follower.slices.values()]);
      expect(follower.told).toEqual(wanted);
      const whole = [...follower.model.drainAll()];
      expect(new Map(whole.map((port) => [port.id, shown(port)]))).toEqual(wanted);
    }),
    { numRuns: 500 },
  );
});

const spec = (serviceName: string, ip: string, ports = [{ port: 80 }]): ServiceSpec =>
  projectService({
    metadata: { namespace: 'shop', name: serviceName },
    spec: { clusterIPs: [ip], ports },
  });

test('a change of one Service tells of that Service alone', () => {
  const model = new ServiceModel();
  model.setService(spec('a', '10.96.0.1'));
  model.setService(spec('b', '10.96.0.2'));
  expect(model.drain()).toHaveLength(2);
  model.setService(spec('b', '10.96.0.3', []));
  expect(model.drain()).toEqual([{ id: 'shop/b:80/TCP/4', port: undefined }]);
  expect(model.pending).toBe(false);
});

const endpoint = (n: number, conditions: Endpoint['conditions']): Endpoint => ({
  addresses: [`10.244.0.${n}`],
  ...(conditions === undefined ? {} : { conditions }),
});

test('endpoints that serve are known, also those that policies and topology keep connections from', () => {
  const model = new ServiceModel();
  model.setService(spec('a', '10.96.0.1'));
  const slice: EndpointSlice = {
    metadata: { namespace: 'shop', name: 'a-1', labels: { 'kubernetes.io/service-name': 'a' } },
    addressType: 'IPv4',
    ports: [{ port: 8080 }],
    endpoints: [
      endpoint(1, { ready: true }),
      endpoint(2, { ready: false, serving: true, terminating: true }),
      endpoint(3, { ready: false, serving: false, terminating: true }),
    ],
  };
  model.setSlice('a-1', projectSlice(slice, NODE));
  const [port] = model.portsOf('shop/a');
  expect(port?.endpoints.map(({ address }) => address)).toEqual(['10.244.0.1']);
  expect(port && model.servingEndpoints(port)).toEqual(new Set(['10.244.0.1:8080', '10.244.0.2:8080']));
});
