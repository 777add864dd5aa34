import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createLogger } from '../../log/logger.ts';
import { Ip } from '../../net/ip.ts';
import type { ServicePort } from '../services/service-port.ts';
import { HealthChecks } from './health-checks.ts';

const LOOPBACK = [Ip.parse('127.0.0.1')];

let local: Map<string, number>;
let healthy: boolean;
let checks: HealthChecks;
let ports: number[];
let errors: string[];
let failures: string[];

/** Ports that are free at the moment. */
async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(servers.map(listening));
  const found = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map(closed));
  return found;
}

async function listening(server: Server): Promise<void> {
  if (!server.listening) await new Promise((resolve) => server.once('listening', resolve));
}

async function closed(server: Server): Promise<void> {
  await new Promise((resolve) => server.close(resolve));
}

beforeEach(async () => {
  local = new Map();
  healthy = true;
  errors = [];
  failures = [];
  ports = await freePorts(2);
  const logger = createLogger('test', 'silent');
  vi.spyOn(logger, 'error').mockImplementation((...words: unknown[]) => {
    errors.push(words.map(String).join(' '));
  });
  checks = new HealthChecks({
    readyHere: (service) => local.get(service) ?? 0,
    proxyHealthy: () => healthy,
    failed: (service, message) => failures.push(`${service}: ${message}`),
    logger,
  });
  checks.listenOn(LOOPBACK);
});

afterEach(() => {
  vi.useRealTimers();
  checks.close();
});

function set(service: string, healthCheckNodePort: number, portName = ''): void {
  const id = `${service}:80${portName}/TCP/4`;
  checks.set(id, { id, service, healthCheckNodePort } as ServicePort);
}

async function ask(port: number): Promise<{ status: number; weight: string | null; body: unknown }> {
  const response = await fetch(`http://127.0.0.1:${port}/`);
  const body: unknown = await response.json();
  expect(response.headers.get('content-type')).toBe('application/json');
  return {
    status: response.status,
    weight: response.headers.get('x-load-balancing-endpoint-weight'),
    body,
  };
}

test('a load balancer is told how many endpoints are here, and 503 where there are none', async () => {
  const [port = 0] = ports;
  set('shop/web', port);
  checks.apply();
  local.set('shop/web', 2);
  expect(await ask(port)).toEqual({
    status: 200,
    weight: '2',
    body: {
      service: { namespace: 'shop', name: 'web' },
      localEndpoints: 2,
      serviceProxyHealthy: true,
    },
  });
  local.set('shop/web', 0);
  expect(await ask(port)).toMatchObject({ status: 503, weight: '0', body: { localEndpoints: 0 } });
  local.set('shop/web', 1);
  healthy = false;
  expect(await ask(port)).toMatchObject({ status: 503, body: { serviceProxyHealthy: false } });
});

test('a port is open as long as one port of the Service asks for it, and moves with it', async () => {
  const [a = 0, b = 0] = ports;
  set('shop/web', a, 'x');
  set('shop/web', a, 'y');
  checks.apply();
  checks.set('shop/web:80x/TCP/4', undefined);
  checks.apply();
  expect((await ask(a)).status).toBe(503);
  set('shop/web', b, 'y');
  checks.apply();
  expect((await ask(b)).status).toBe(503);
  await expect(ask(a)).rejects.toThrow('fetch failed');
  checks.reset();
  checks.apply();
  await expect(ask(b)).rejects.toThrow('fetch failed');
});

test('a port that another Service has is told of by object and field, and taken when it is free', async () => {
  const [port = 0, other = 0] = ports;
  set('shop/web', port);
  set('shop/late', port);
  set('shop/third', other);
  checks.apply();
  expect(errors.join()).toMatch(/Service shop\/late: spec.healthCheckNodePort: .*EADDRINUSE|in use/);
  expect(failures).toEqual([
    expect.stringContaining(`shop/late: cannot start the health check on port ${port}: `),
  ]);
  expect((await ask(other)).status).toBe(503);
  checks.set('shop/web:80/TCP/4', undefined);
  checks.apply();
  expect(await ask(port)).toMatchObject({ body: { service: { name: 'late' } } });
});

test('a port that another program has is tried again', async () => {
  const [port = 0] = ports;
  const other = createServer().listen(port, '127.0.0.1');
  await listening(other);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  set('shop/web', port);
  checks.apply();
  expect(failures).toHaveLength(1);
  await closed(other);
  vi.advanceTimersByTime(5000);
  vi.useRealTimers();
  expect((await ask(port)).status).toBe(503);
});

test('while a full sync is under way all checks answer, whatever else happens', async () => {
  const [port = 0, busy = 0] = ports;
  const other = createServer().listen(busy, '127.0.0.1');
  await listening(other);
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  set('shop/web', port);
  set('shop/late', busy);
  checks.apply();
  checks.reset();
  // The port that another program has is tried again.
  vi.advanceTimersByTime(5000);
  vi.useRealTimers();
  expect((await ask(port)).status).toBe(503);
  // An address of the machine comes.
  checks.listenOn([...LOOPBACK, Ip.parse('127.0.0.2')]);
  expect((await ask(port)).status).toBe(503);
  // It was refused: the next one begins anew.
  checks.reset();
  set('shop/web', port);
  checks.apply();
  expect((await ask(port)).status).toBe(503);
  await closed(other);
});

test('opened, closed and opened again in one breath, it is open', async () => {
  const [a = 0, b = 0] = ports;
  for (const port of [a, b, a, b, a]) {
    set('shop/web', port);
    checks.apply();
  }
  for (const last of [1, 2, 3]) checks.listenOn([...LOOPBACK, Ip.parse(`127.0.0.${last + 1}`)]);
  expect((await ask(a)).status).toBe(503);
  await expect(ask(b)).rejects.toThrow('fetch failed');
  expect(errors).toEqual([]);
});
