import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { ProxyMode } from '../backend.ts';
import { send } from './http-server.ts';

/** What is told of a running proxy; read at each request. */
export interface ProxyStatus {
  /** Since when something waits to be programmed, ms since the epoch; undefined: nothing does. */
  readonly pendingSinceMs: number | undefined;
  /** When the kernel last took a change, ms since the epoch; undefined: not yet. */
  readonly lastUpdatedMs: number | undefined;
  /** False when load balancers should send nothing new to this node. */
  readonly nodeEligible: boolean;
  readonly mode: ProxyMode;
  /** What waits for so long counts as failed; ms. kube-proxy takes twice the sync period. */
  readonly patienceMs: number;
}

export interface StatusSource {
  readonly status: () => ProxyStatus;
  readonly registry: () => Registry;
  /** The configuration that is in effect, under kube-proxy's names. */
  readonly config: () => unknown;
  /** Counts an answer of /healthz or /livez. */
  readonly count: (endpoint: 'healthz' | 'livez', code: 200 | 503) => void;
}

interface HealthAnswer {
  readonly code: 200 | 503;
  readonly body: string;
}

/**
 * kube-proxy's answer of /healthz and /livez. The proxy is well while nothing has waited for too long, also when it
 * has just begun; /healthz looks at the Node too. While well, `lastUpdated` is now, as readers of old expect.
 */
export function answerHealth(endpoint: 'healthz' | 'livez', status: ProxyStatus, now: number): HealthAnswer {
  const { pendingSinceMs, lastUpdatedMs = 0, patienceMs } = status;
  const live = pendingSinceMs === undefined || now - pendingSinceMs < patienceMs;
  const well = live && (endpoint === 'livez' || status.nodeEligible);
  const times = `"lastUpdated": "${goTime(well ? now : lastUpdatedMs)}","currentTime": "${goTime(now)}"`;
  const eligible = endpoint === 'healthz' ? `, "nodeEligible": ${status.nodeEligible}` : '';
  return { code: well ? 200 : 503, body: `{${times}${eligible}}` };
}

/** As Go prints a time: `2026-11-21 10:41:34.5 +0000 UTC`; its zero time where there is none. */
function goTime(ms: number): string {
  if (ms === 0) return '0001-01-01 00:00:00 +0000 UTC';
  const [date = '', time = ''] = new Date(ms).toISOString().slice(0, -1).split('T');
  const [seconds = '', fraction = ''] = time.split('.');
  const digits = fraction.replace(/0+$/, '');
  return `${date} ${seconds}${digits === '' ? '' : `.${digits}`} +0000 UTC`;
}

/** What the health server serves: /healthz and /livez. */
export async function serveHealth(
  source: StatusSource,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = pathOf(request);
  const endpoint = path === '/healthz' ? 'healthz' : path === '/livez' ? 'livez' : undefined;
  if (endpoint === undefined) {
    send(response, 404, 'not found; there are /healthz and /livez\n');
    return;
  }
  const { code, body } = answerHealth(endpoint, source.status(), Date.now());
  source.count(endpoint, code);
  send(response, code, body, 'application/json');
  await Promise.resolve();
}

/** What the metrics server serves. Its /healthz says only that there is a process, as with kube-proxy. */
export async function serveMetrics(
  source: StatusSource,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  switch (pathOf(request)) {
    case '/metrics': {
      const registry = source.registry();
      send(response, 200, await registry.metrics(), registry.contentType);
      return;
    }
    case '/proxyMode':
      send(response, 200, source.status().mode);
      return;
    case '/healthz':
      send(response, 200, 'ok');
      return;
    case '/configz':
      send(response, 200, JSON.stringify({ 'kubeproxy.config.k8s.io': source.config() }), 'application/json');
      return;
    default:
      send(response, 404, 'not found; there are /metrics, /proxyMode, /healthz and /configz\n');
  }
}

const pathOf = (request: IncomingMessage): string => new URL(request.url ?? '/', 'http://localhost').pathname;
