import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { expect } from 'vitest';
import type { Lab } from './lab-fixture.ts';

/** What calling a Service for a while came to. */
export interface LoadResult {
  readonly requests: number;
  readonly answered: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** SYNs that nobody answered for a second. */
  readonly lostSyns: number;
  readonly failures: number;
  readonly firstFailures: readonly string[];
  /** Of each connection that stayed: requests on it, pods that answered. */
  readonly held: readonly {
    readonly requests: number;
    readonly pods: readonly string[];
    readonly error?: string;
  }[];
}

export interface Load {
  /** Where an HTTP server is behind it that answers `/` with its name. */
  readonly address: string;
  readonly port: number;
  readonly connectionsPerSecond: number;
  readonly seconds: number;
  /** Connections that stay and talk beside. */
  readonly held?: number;
}

/** Calls from within a pod that has Node.js. Resolves when calling has begun, with what it comes to. */
export async function startLoad(
  lab: Lab,
  pod: string,
  load: Load,
): Promise<{ readonly result: Promise<LoadResult> }> {
  const { address, port, connectionsPerSecond, seconds, held = 0 } = load;
  const args = [address, port, connectionsPerSecond, seconds, held].map(String);
  const node = ['node', '--input-type=module', '-', ...args];
  const child = spawn(lab.kubectlPath, ['exec', '-i', pod, '--', ...node], {
    env: { ...process.env, KUBECONFIG: lab.kubeconfig },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  child.stdin.end(readFileSync(join(import.meta.dirname, 'load-client.mjs')));
  const lines: string[] = [];
  const output = createInterface({ input: child.stdout });
  const begun = once(output, 'line');
  output.on('line', (line) => lines.push(line));
  const ended = once(output, 'close');
  await Promise.race([begun, ended]);
  if (lines.length === 0) throw new Error('the load did not begin');
  return { result: ended.then(() => JSON.parse(lines[1] ?? '{}') as LoadResult) };
}

/** No request failed, no SYN was lost, and each connection that stayed is the one that it was. */
export function expectUnharmed(load: LoadResult): void {
  expect(load).toMatchObject({ answered: load.requests, failures: 0, firstFailures: [], lostSyns: 0 });
  for (const connection of load.held) {
    expect(connection).not.toHaveProperty('error');
    expect(connection.pods).toHaveLength(1);
    expect(connection.requests).toBeGreaterThan(10);
  }
}

/** Pods that answer with their name by next to no CPU, and go on serving for a while after they are told to go. */
export function servingDeployment(name: string, replicas: number): object {
  const server = 'listen 8080 backlog=4096; location / { return 200 $hostname; }';
  const keepAlive = 'keepalive_timeout 1h; keepalive_requests 1000000';
  const config = `events { worker_connections 8192; } http { access_log off; ${keepAlive}; server { ${server} } }`;
  const script = 'printf %s "$1" > /etc/nginx/nginx.conf && exec nginx -g "daemon off;"';
  const container = {
    name: 'nginx',
    image: 'nginx',
    command: ['sh', '-c', script, 'sh', config],
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 1 },
    lifecycle: { preStop: { sleep: { seconds: 5 } } },
  };
  const labels = { app: name };
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { containers: [container] } },
    },
  };
}
