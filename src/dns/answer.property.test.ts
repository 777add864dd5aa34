import fc from 'fast-check';
import type { Service } from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import { expect, test } from 'vitest';
import { answer } from './answer.ts';
import { RecordType } from './record.ts';
import { keyOf, service, slice, viewOf, type ClusterObjects } from './zone-fixture.ts';
import { projectEndpointSlice, projectService } from './zone-objects.ts';
import { allRecords, reverse, search } from './zone-oracle.ts';
import { ZoneView } from './zone-view.ts';

// Few names and addresses, so that objects meet.
const namespace = fc.constantFrom('a', 'b');
const serviceName = fc.constantFrom('web', 'db');
const ipv4 = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.0.3');
const ipv6 = fc.constantFrom('fd00::1', 'fd00:1:2::3');
const port = fc.record(
  {
    name: fc.constantFrom('http', 'dns'),
    protocol: fc.constantFrom('TCP', 'UDP'),
    port: fc.constantFrom(53, 80),
  },
  { requiredKeys: ['protocol', 'port'] },
);
// Ports of an object differ by name or by number and protocol, as the API server sees to.
const ports = fc.uniqueArray(port, { maxLength: 2, selector: (p) => `${p.name}/${p.protocol}/${p.port}` });

const services = fc.oneof(
  fc
    .tuple(
      namespace,
      serviceName,
      fc.uniqueArray(fc.oneof(ipv4, ipv6), { minLength: 1, maxLength: 2 }),
      ports,
    )
    .map(([ns, name, clusterIPs, ports]) => service(ns, name, { clusterIPs, ports })),
  fc
    .tuple(namespace, serviceName, fc.boolean(), ports)
    .map(([ns, name, publishNotReadyAddresses, ports]) =>
      service(ns, name, { clusterIPs: ['None'], publishNotReadyAddresses, ports }),
    ),
  fc
    .tuple(namespace, serviceName)
    .map(([ns, name]) => service(ns, name, { type: 'ExternalName', externalName: 'www.example.com' })),
);
const endpoint = fc
  .tuple(fc.oneof(ipv4, ipv6), fc.constantFrom(undefined, 'pet-0'), fc.constantFrom(true, false, undefined))
  .map(([ip, hostname, ready]) => ({
    addresses: [ip],
    ...(hostname !== undefined && { hostname }),
    ...(ready !== undefined && { conditions: { ready } }),
  }));
const slices = fc
  .tuple(namespace, serviceName, fc.array(endpoint, { maxLength: 3 }), ports, fc.constantFrom('x', 'y'))
  .map(([ns, name, endpoints, ports, suffix]) => slice(ns, name, endpoints, ports, suffix));

const question = fc.oneof(
  fc
    .tuple(
      fc.constantFrom(
        '',
        'pet-0.',
        '10-0-0-1.',
        'fd00--1.',
        '_tcp.',
        '_udp.',
        '_http._tcp.',
        '_dns._udp.',
        'x.pet-0.',
      ),
      fc.constantFrom('web.', 'db.', ''),
      fc.constantFrom('a.', 'b.', 'c.', ''),
      fc.constantFrom('svc.', 'pod.', 'dns.', ''),
    )
    .map((parts) => `${parts.join('')}cluster.local`),
  fc.oneof(ipv4, ipv6).map(reverse),
);
const type = fc.constantFrom('A', 'AAAA', 'SRV', 'PTR', 'TXT', 'CNAME');

function ask(view: ZoneView, name: string, type: 'A' | 'AAAA' | 'SRV' | 'PTR' | 'TXT' | 'CNAME'): string[] {
  const verdict = answer({ labels: name.split('.'), type: RecordType[type] }, view);
  if (verdict.kind === 'forward') return ['NXDOMAIN'];
  const { rcode, answers } = verdict.response;
  if (rcode === 3) return ['NXDOMAIN'];
  if (answers.length === 0) return ['NODATA'];
  return answers
    .map((record) => {
      const data = record.type === 'SRV' ? `${record.port} ${record.target}` : dataOf(record);
      return `${record.name} ${record.type} ${data}`;
    })
    .sort();
}

function dataOf(record: object): string {
  if ('address' in record) return String(record.address);
  if ('target' in record) return String(record.target);
  return 'texts' in record ? String(record.texts) : '';
}

const cluster = fc.record({
  namespaces: fc.constant(['a', 'b']),
  services: fc.uniqueArray(services, { selector: keyOf, maxLength: 4 }),
  slices: fc.uniqueArray(slices, { selector: keyOf, maxLength: 6 }),
});

// As with CoreDNS, a Service's own address hides the endpoints that happen to have it, and the other way round
// one address of two Services is two names: the specification leaves that open.
function withoutHidden(objects: ClusterObjects, name: string, expected: string[]): string[] {
  const own = objects.services.filter((service) =>
    (service.spec?.clusterIPs ?? []).some((ip) => ip !== 'None' && reverse(ip) === name),
  );
  if (own.length === 0) return expected;
  return expected.filter((line) =>
    own.some((service) =>
      line.endsWith(` PTR ${service.metadata?.name}.${service.metadata?.namespace}.svc.cluster.local`),
    ),
  );
}

test('answers are those of the list of all records', () => {
  fc.assert(
    fc.property(
      cluster,
      fc.array(fc.tuple(question, type), { minLength: 20, maxLength: 20 }),
      (objects, questions) => {
        const view = viewOf(objects);
        const records = allRecords(objects);
        for (const [name, type] of questions) {
          const expected = search(objects, records, name, type);
          const visible = type === 'PTR' ? withoutHidden(objects, name, expected) : expected;
          expect(ask(view, name, type), `${name} ${type}`).toEqual(visible);
        }
      },
    ),
    { numRuns: 500 },
  );
});

type Change =
  | { readonly kind: 'service'; readonly object: Service }
  | { readonly kind: 'slice'; readonly object: EndpointSlice };
const change = fc.tuple(
  fc.oneof(
    services.map((object): Change => ({ kind: 'service', object })),
    slices.map((object): Change => ({ kind: 'slice', object })),
  ),
  fc.boolean(),
);

test('a view that was changed step by step equals one that was built at once', () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 25 }), question, type, (changes, name, type) => {
      const view = new ZoneView({ zone: 'cluster.local', ttl: 30 });
      for (const namespace of ['a', 'b']) view.setNamespace(namespace);
      const services = new Map<string, Service>();
      const slices = new Map<string, EndpointSlice>();
      for (const [{ kind, object }, removed] of changes) {
        const key = keyOf(object);
        // Asked in between, so that nothing remembered survives a change.
        ask(view, name, type);
        if (kind === 'service' && removed) services.delete(key);
        else if (kind === 'service') services.set(key, object);
        else if (removed) slices.delete(key);
        else slices.set(key, object);
        if (kind === 'service' && removed) view.removeService(key);
        else if (kind === 'service') view.setService(key, projectService(object));
        else if (removed) view.removeEndpointSlice(key);
        else view.setEndpointSlice(key, projectEndpointSlice(object));
      }
      const objects = {
        namespaces: ['a', 'b'],
        services: [...services.values()],
        slices: [...slices.values()],
      };
      expect(ask(view, name, type)).toEqual(ask(viewOf(objects), name, type));
    }),
    { numRuns: 500 },
  );
});
