import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ServiceModel } from './model.ts';
import type { ServicePort } from './service-port.ts';
import type { ServiceSpec } from './service-spec.ts';
import { LOCAL, READY, SERVING_TERMINATING, type SliceSpec } from './slice-spec.ts';

const name = fc.constantFrom('shop/a', 'shop/b', 'shop/c');
const portName = fc.constantFrom('http', 'dns');
const protocol = fc.constantFrom('TCP' as const, 'UDP' as const);

const serviceArb: fc.Arbitrary<ServiceSpec> = fc
  .record({
    key: name,
    ip: fc.integer({ min: 1, max: 4 }),
    both: fc.boolean(),
    ports: fc.uniqueArray(
      fc.record({
        name: portName,
        protocol,
        port: fc.integer({ min: 80, max: 82 }),
        nodePort: fc.constant(0),
      }),
      { selector: ({ protocol, port }) => `${protocol}${port}`, maxLength: 3 },
    ),
    affinitySeconds: fc.constantFrom(0, 100),
  })
  .map(({ ip, both, ...rest }) => ({
    ...rest,
    addresses: [
      { family: 4 as const, address: `10.96.0.${ip}` },
      ...(both ? [{ family: 6 as const, address: `fd00::${ip}` }] : []),
    ],
    problems: [],
  }));

const sliceArb: fc.Arbitrary<SliceSpec> = fc.record({
  service: fc.oneof(name, fc.constant('')),
  family: fc.constantFrom(4 as const, 6 as const),
  ports: fc.array(fc.record({ name: portName, protocol, port: fc.integer({ min: 8080, max: 8081 }) }), {
    maxLength: 2,
  }),
  endpoints: fc.array(
    fc.record({
      address: fc.integer({ min: 1, max: 5 }).map((n) => `10.244.0.${n}`),
      state: fc.constantFrom(READY, READY | LOCAL, SERVING_TERMINATING, SERVING_TERMINATING | LOCAL),
    }),
    { maxLength: 4 },
  ),
  changedAtMs: fc.constant(0),
  problems: fc.constant([]),
});

type Step =
  | { readonly do: 'service'; readonly spec: ServiceSpec }
  | { readonly do: 'no service'; readonly key: string }
  | { readonly do: 'slice'; readonly key: string; readonly spec: SliceSpec }
  | { readonly do: 'no slice'; readonly key: string }
  | { readonly do: 'drain' };

const sliceKey = fc.constantFrom('s1', 's2', 's3', 's4');
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('service' as const), spec: serviceArb }),
    fc.record({ do: fc.constant('no service' as const), key: name }),
    fc.record({ do: fc.constant('slice' as const), key: sliceKey, spec: sliceArb }),
    fc.record({ do: fc.constant('no slice' as const), key: sliceKey }),
    fc.record({ do: fc.constant('drain' as const) }),
  ),
  { maxLength: 40 },
);

/** The whole specification, slowly: every Service port against every endpoint of every slice. */
function expected(services: Iterable<ServiceSpec>, slices: Iterable<SliceSpec>): Map<string, unknown> {
  const result = new Map<string, unknown>();
  for (const service of services) {
    for (const { family, address } of service.addresses) {
      for (const port of service.ports) {
        const states = new Map<string, number>();
        for (const slice of slices) {
          if (slice.service !== service.key || slice.family !== family) continue;
          for (const slicePort of slice.ports) {
            if (slicePort.name !== port.name || slicePort.protocol !== port.protocol) continue;
            for (const endpoint of slice.endpoints) {
              const key = `${endpoint.address} ${slicePort.port}`;
              states.set(key, (states.get(key) ?? 0) | endpoint.state);
            }
          }
        }
        const having = (bit: number): string[] =>
          [...states]
            .filter(([, state]) => (state & bit) !== 0)
            .map(([key, state]) => `${key} ${(state & LOCAL) !== 0}`);
        const endpoints = having(READY).length > 0 ? having(READY) : having(SERVING_TERMINATING);
        result.set(`${service.key}:${port.port}/${port.protocol}/${family}`, {
          to: `${address} ${port.port} ${service.affinitySeconds}`,
          endpoints: endpoints.sort(),
        });
      }
    }
  }
  return result;
}

function shown(port: ServicePort): unknown {
  const endpoints = port.endpoints.map(({ address, port, local }) => `${address} ${port} ${local}`);
  return { to: `${port.address} ${port.port} ${port.affinitySeconds}`, endpoints: endpoints.sort() };
}

/** The model beside plain maps of the same objects, and what it told so far. */
class Follower {
  readonly model = new ServiceModel();
  readonly services = new Map<string, ServiceSpec>();
  readonly slices = new Map<string, SliceSpec>();
  readonly told = new Map<string, unknown>();

  take(step: Step): void {
    switch (step.do) {
      case 'service':
        this.services.set(step.spec.key, step.spec);
        return this.model.setService(step.spec);
      case 'no service':
        this.services.delete(step.key);
        return this.model.deleteService(step.key);
      case 'slice':
        this.model.setSlice(step.key, step.spec, this.slices.get(step.key));
        this.slices.set(step.key, step.spec);
        return;
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
    const old = this.slices.get(key);
    if (old !== undefined) this.model.deleteSlice(key, old);
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
    { numRuns: 300 },
  );
});

const spec = (key: string, ip: string): ServiceSpec => ({
  key,
  addresses: [{ family: 4, address: ip }],
  ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 0 }],
  affinitySeconds: 0,
  problems: [],
});

test('a change of one Service tells of that Service alone', () => {
  const model = new ServiceModel();
  model.setService(spec('shop/a', '10.96.0.1'));
  model.setService(spec('shop/b', '10.96.0.2'));
  expect(model.drain()).toHaveLength(2);
  model.setService({ ...spec('shop/b', '10.96.0.3'), ports: [] });
  expect(model.drain()).toEqual([{ id: 'shop/b:80/TCP/4', port: undefined }]);
  expect(model.pending).toBe(false);
});
