import { expect, test } from 'vitest';
import { servicePort } from '../../../../test/conformance/proxy/service-ports.ts';
import type { ServiceEndpoint } from '../../services/service-port.ts';
import { Balancer } from './balancer.ts';

let now = 0;
const CHANCE = { nowMs: () => now, random: () => 0 };
const endpoint = (last: number, local = false): ServiceEndpoint => ({
  address: `10.244.1.${last}`,
  port: 80,
  local,
});
const ENDPOINTS = [endpoint(1), endpoint(2), endpoint(3, true)];
const key = (last: number): string => `10.244.1.${last}:80`;

function takes(balancer: Balancer, count: number, client = 'a', set: 'all' | 'local' = 'all'): string[] {
  return Array.from({ length: count }, () => balancer.next(client, set)?.address ?? 'none');
}

test('endpoints have their turns, those of this node by themselves', () => {
  const balancer = new Balancer(servicePort({ endpoints: ENDPOINTS }), CHANCE);
  expect(takes(balancer, 4)).toEqual(['10.244.1.1', '10.244.1.2', '10.244.1.3', '10.244.1.1']);
  expect(takes(balancer, 2, 'a', 'local')).toEqual(['10.244.1.3', '10.244.1.3']);
  expect(takes(balancer, 1)).toEqual(['10.244.1.2']);
});

test('those that were tried are not offered again', () => {
  const balancer = new Balancer(servicePort({ endpoints: ENDPOINTS }), CHANCE);
  expect(balancer.next('a', 'all', new Set([key(1), key(3)]))).toBe(ENDPOINTS[1]);
  expect(balancer.next('a', 'all', new Set([key(1), key(2), key(3)]))).toBe(undefined);
  expect(new Balancer(servicePort({}), CHANCE).next('a', 'all')).toBe(undefined);
});

test('a client stays with its endpoint for as long as it calls often enough', () => {
  const port = servicePort({ affinitySeconds: 10, endpoints: ENDPOINTS });
  const balancer = new Balancer(port, CHANCE);
  now = 0;
  expect(takes(balancer, 3, 'a')).toEqual(['10.244.1.1', '10.244.1.1', '10.244.1.1']);
  expect(takes(balancer, 2, 'b')).toEqual(['10.244.1.2', '10.244.1.2']);
  now = 9_999;
  expect(takes(balancer, 1, 'a')).toEqual(['10.244.1.1']);
  now = 19_998;
  expect(takes(balancer, 1, 'a')).toEqual(['10.244.1.1']);
  now = 29_998;
  expect(takes(balancer, 1, 'a')).toEqual(['10.244.1.3']);
  // b has not called since: nobody remembers it.
  expect(balancer.clients).toBe(1);
});

test('a client whose endpoint is dead or gone stays with the next one', () => {
  const port = servicePort({ affinitySeconds: 10, endpoints: ENDPOINTS });
  const balancer = new Balancer(port, CHANCE);
  expect(balancer.next('a', 'all')).toBe(ENDPOINTS[0]);
  expect(balancer.next('a', 'all', new Set([key(1)]))).toBe(ENDPOINTS[1]);
  expect(balancer.next('a', 'all')).toBe(ENDPOINTS[1]);
  balancer.port = { ...port, endpoints: [endpoint(1), endpoint(3)] };
  const next = balancer.next('a', 'all')?.address;
  expect(['10.244.1.1', '10.244.1.3']).toContain(next);
  expect(takes(balancer, 2, 'a')).toEqual([next, next]);
});
