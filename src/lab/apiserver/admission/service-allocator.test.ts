import { describe, expect, test } from 'vitest';
import { Cidr } from '../../../net/cidr.ts';
import { objectAt, objectsAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { makeBuiltInKinds } from '../kinds/built-in-kinds.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import { setServiceDefaults } from '../kinds/service-defaults.ts';
import { RevisionCounter } from '../store/revision-counter.ts';
import { ServiceAllocator } from './service-allocator.ts';

const SERVICES = makeBuiltInKinds(new RevisionCounter()).find(
  (one) => one.kind === 'Service',
) as ResourceDefinition;

function service(spec: object): KubeObject {
  const object: KubeObject = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 's', namespace: 'n' },
    spec: { ports: [{ port: 80 }], ...spec },
  };
  setServiceDefaults(object);
  return object;
}

function reserve(
  allocator: ServiceAllocator,
  object: KubeObject,
  old?: KubeObject,
): ReturnType<ServiceAllocator['reserve']> {
  const user = { username: 'u', groups: [] };
  return allocator.reserve({
    operation: old === undefined ? 'create' : 'update',
    definition: SERVICES,
    namespace: 'n',
    name: 's',
    object,
    old,
    subresource: undefined,
    user,
  });
}

function take(allocator: ServiceAllocator, spec: object, old?: KubeObject): KubeObject {
  const object = service(spec);
  reserve(allocator, object, old)?.commit();
  return object;
}

const V4 = [Cidr.parse('10.96.0.0/28')];
const DUAL = [Cidr.parse('10.96.0.0/16'), Cidr.parse('fd00:10:96::/112')];
const PORTS = [30_000, 30_003] as const;

describe('cluster addresses', () => {
  test('every address of the range is given out once, then the range is full', () => {
    const allocator = new ServiceAllocator(V4, PORTS);
    const given = new Set(
      Array.from({ length: 14 }, () => objectAt(take(allocator, {}), 'spec')?.['clusterIP']),
    );
    expect(given.size).toBe(14);
    expect(given.has('10.96.0.0')).toBe(false);
    expect(given.has('10.96.0.15')).toBe(false);
    expect(() => take(allocator, {})).toThrow('range 10.96.0.0/28 is full');
  });

  test('a chosen address is taken once, returns on deletion, and must be in the range', () => {
    const allocator = new ServiceAllocator(V4, PORTS);
    const first = take(allocator, { clusterIP: '10.96.0.5' });
    expect(() => take(allocator, { clusterIP: '10.96.0.5' })).toThrow('provided IP is already allocated');
    expect(() => take(allocator, { clusterIP: '10.97.0.5' })).toThrow('is not in the valid range');
    allocator.released(first, SERVICES);
    expect(objectAt(take(allocator, { clusterIP: '10.96.0.5' }), 'spec')?.['clusterIPs']).toEqual([
      '10.96.0.5',
    ]);
  });

  test('headless Services get none, dual-stack ones one of each family', () => {
    const allocator = new ServiceAllocator(DUAL, PORTS);
    expect(objectAt(take(allocator, { clusterIP: 'None' }), 'spec')?.['clusterIPs']).toEqual(['None']);
    const dual = objectAt(take(allocator, { ipFamilyPolicy: 'PreferDualStack' }), 'spec');
    expect(dual?.['ipFamilies']).toEqual(['IPv4', 'IPv6']);
    expect(dual?.['clusterIPs']).toHaveLength(2);
    const six = objectAt(take(allocator, { ipFamilies: ['IPv6'] }), 'spec');
    expect(six?.['clusterIP']).toMatch(/^fd00:10:96::/);
    expect(() => take(new ServiceAllocator(V4, PORTS), { ipFamilyPolicy: 'RequireDualStack' })).toThrow(
      'not configured for dual-stack',
    );
  });

  test('a write that is rolled back leaves nothing taken', () => {
    const allocator = new ServiceAllocator(V4, PORTS);
    const spec = { clusterIP: '10.96.0.5', ...chosen(30_000) };
    reserve(allocator, service(spec))?.rollback();
    expect(objectAt(take(allocator, spec), 'spec')?.['clusterIPs']).toEqual(['10.96.0.5']);
  });
});

const chosen = (nodePort: number): object => ({ type: 'NodePort', ports: [{ port: 80, nodePort }] });

describe('node ports', () => {
  test('automatic ones are all different, chosen ones are refused when taken or outside the range', () => {
    const allocator = new ServiceAllocator(DUAL, PORTS);
    const ports = Array.from(
      { length: 4 },
      () => objectsAt(take(allocator, { type: 'NodePort' }), 'spec', 'ports')[0]?.['nodePort'],
    );
    expect(ports.map(Number).toSorted((a, b) => a - b)).toEqual([30_000, 30_001, 30_002, 30_003]);
    expect(() => take(allocator, chosen(30_001))).toThrow('provided port is already allocated');
    expect(() => take(allocator, chosen(80))).toThrow('The range of valid ports is 30000-30003');
  });

  test('the same port in two protocols shares the node port', () => {
    const ports = [
      { name: 'a', port: 53, protocol: 'TCP' },
      { name: 'b', port: 53, protocol: 'UDP' },
    ];
    const given = objectsAt(
      take(new ServiceAllocator(DUAL, PORTS), { type: 'NodePort', ports }),
      'spec',
      'ports',
    );
    expect(given[0]?.['nodePort']).toBe(given[1]?.['nodePort']);
  });

  test('changing the type gives node ports back', () => {
    const allocator = new ServiceAllocator(DUAL, [30_000, 30_000]);
    const old = take(allocator, { type: 'NodePort' });
    const ip = objectAt(old, 'spec')?.['clusterIP'];
    take(allocator, { clusterIP: ip, clusterIPs: [ip] }, old);
    expect(objectsAt(take(allocator, { type: 'NodePort' }), 'spec', 'ports')[0]?.['nodePort']).toBe(30_000);
  });
});
