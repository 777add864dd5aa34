import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry } from 'prom-client';
import type { ProxyMode } from '../backend.ts';
import type { ProxyHealth } from '../proxy-health.ts';
import { send } from './http-server.ts';

export interface StatusSource {
  readonly health: () => ProxyHealth;
  readonly mode: () => ProxyMode;
  readonly registry: Registry;
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
 * kube-proxy's answer of /healthz and /livez; `now` in ms since the epoch. /healthz looks at the Node too. While all
 * is well `lastUpdated` is now: readers of old take it for the last look at the rules.
 */
export function answerHealth(endpoint: 'healthz' | 'livez', health: ProxyHealth, now: number): HealthAnswer {
  const well = health.live && (endpoint === 'livez' || health.nodeEligible);
  const times = `"lastUpdated": "${goTime(well ? now : health.lastSyncMs)}","currentTime": "${goTime(now)}"`;
  const eligible = endpoint === 'healthz' ? `, "nodeEligible": ${health.nodeEligible}` : '';
  return { code: well ? 200 : 503, body: `{${times}${eligible}}` };
}

/** As Go prints a time: `2026-11-21 10:41:34.5 +0000 UTC`; its zero time where there is none. */
function goTime(ms: number | undefined): string {
  if (ms === undefined) return '0001-01-01 00:00:00 +0000 UTC';
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
  const { code, body } = answerHealth(endpoint, source.health(), Date.now());
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
      const { registry } = source;
      send(response, 200, await registry.metrics(), registry.contentType);
      return;
    }
    case '/proxyMode':
      send(response, 200, source.mode());
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
