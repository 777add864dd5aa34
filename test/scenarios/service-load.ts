import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
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

export interface LoadTarget {
  /** Where an HTTP server is behind it that answers `/` with its name. */
  readonly address: string;
  readonly port: number;
  readonly connectionsPerSecond: number;
  /** Connections that stay and talk beside. */
  readonly held?: number;
}

const SCRIPT = join(import.meta.dirname, 'load-client.mjs');

/** A process that calls a Service until it is told to end. */
export class RunningLoad {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #ended: Promise<unknown>;

  private constructor(child: ChildProcess, output: Interface) {
    this.#child = child;
    output.on('line', (line) => this.#lines.push(line));
    this.#ended = once(output, 'close');
  }

  /** Resolves when calling has begun. `start` starts Node.js with these arguments where the calls shall come from. */
  static async start(target: LoadTarget, start: (args: string[]) => ChildProcess): Promise<RunningLoad> {
    const { address, port, connectionsPerSecond, held = 0 } = target;
    const words = [address, port, connectionsPerSecond, held].map(String);
    // The text itself, as the file may not be there.
    const text = readFileSync(SCRIPT, 'utf8');
    const child = start(['--input-type=module', '-e', text, '--', ...words]);
    if (child.stdout === null) throw new Error('the output of the load cannot be read');
    const output = createInterface({ input: child.stdout });
    const begun = once(output, 'line');
    const load = new RunningLoad(child, output);
    await Promise.race([begun, load.#ended]);
    if (load.#lines.length === 0) throw new Error('the load did not begin');
    return load;
  }

  /** Ends it; what it came to. */
  async end(): Promise<LoadResult> {
    this.#child.stdin?.end();
    await this.#ended;
    return JSON.parse(this.#lines[1] ?? '{}') as LoadResult;
  }
}

/** Calls from within a pod that has Node.js. */
export async function loadFromPod(lab: Lab, pod: string, target: LoadTarget): Promise<RunningLoad> {
  return RunningLoad.start(target, (args) =>
    spawn(lab.kubectlPath, ['exec', '-i', pod, '--', 'node', ...args], {
      env: { ...process.env, KUBECONFIG: lab.kubeconfig },
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
}

/** No request failed, no SYN was lost, and each connection that stayed is the one that it was. */
export function expectUnharmed(load: LoadResult): void {
  const { answered, requests, failures, firstFailures, lostSyns } = load;
  const unharmed = answered === requests && failures + firstFailures.length + lostSyns === 0;
  // The whole of it: reports from within user-mode-linux show no more than the message.
  expect(unharmed ? 'unharmed' : JSON.stringify(load)).toBe('unharmed');
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
