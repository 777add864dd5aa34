import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run, type RunResult } from '../../src/kernel/exec/run.ts';
import { Netns } from '../../src/kernel/netns/netns.ts';

const ROOT = join(import.meta.dirname, '..', '..');
/** FLATNET_DIST: another build than that in dist. */
export const FLATNET = join(process.env['FLATNET_DIST'] ?? join(ROOT, 'dist'), 'flatnet.js');
const FIRST_MINOR = 27;
const LAST_MINOR = 33;

/** Runs the built command; throws as `run` does. */
export async function flatnet(args: readonly string[], timeoutMs = 90_000): Promise<RunResult> {
  return run(process.execPath, [FLATNET, ...args], { timeoutMs });
}

/** Paths of the kubectl versions that the set-up found or fetched, oldest first. */
export function kubectlVersions(): { minor: number; path: string }[] {
  const minors = Array.from({ length: LAST_MINOR - FIRST_MINOR + 1 }, (_, index) => FIRST_MINOR + index);
  return minors
    .map((minor) => ({ minor, path: join(ROOT, '.cache', 'kubectl', `1.${minor}`, 'kubectl') }))
    .filter(({ path }) => existsSync(path));
}

function newestKubectl(): string {
  const newest = kubectlVersions().at(-1);
  if (newest === undefined) throw new Error('no kubectl: run scripts/setup.sh test');
  return newest.path;
}

export interface KubectlOptions {
  readonly input?: string;
  readonly timeoutMs?: number;
  readonly path?: string;
}

interface NodeStatus {
  readonly name: string;
  readonly pid: number;
  readonly agent?: { readonly pid?: number };
}

/** A lab of the built command, used as a person would: by the command, its kubeconfig and kubectl. */
export class Lab {
  readonly name: string;
  readonly kubeconfig: string;
  /** How long `lab up` took. */
  readonly upMs: number;
  readonly #kubectl = newestKubectl();
  readonly #pids = new Map<string, number>();

  private constructor(name: string, kubeconfig: string, upMs: number) {
    this.name = name;
    this.kubeconfig = kubeconfig;
    this.upMs = upMs;
  }

  static async up(purpose: string, args: readonly string[] = []): Promise<Lab> {
    const name = `t${process.pid}-${purpose}`;
    try {
      const { durationMs } = await flatnet(['lab', 'up', '--name', name, ...args]);
      const { stdout } = await flatnet(['lab', 'kubeconfig', '--name', name, '--path']);
      return new Lab(name, stdout.trim(), durationMs);
    } catch (error) {
      await flatnet(['lab', 'down', '--name', name]);
      throw error;
    }
  }

  async down(): Promise<void> {
    await flatnet(['lab', 'down', '--name', this.name]);
  }

  async kubectl(args: readonly string[], options: KubectlOptions = {}): Promise<string> {
    const { stdout } = await run(options.path ?? this.#kubectl, args, {
      env: { ...process.env, KUBECONFIG: this.kubeconfig },
      timeoutMs: options.timeoutMs ?? 60_000,
      ...(options.input === undefined ? {} : { input: options.input }),
    });
    return stdout;
  }

  async apply(manifest: object | readonly object[]): Promise<void> {
    const items = Array.isArray(manifest) ? (manifest as object[]) : [manifest];
    await this.kubectl(['apply', '-f', '-'], {
      input: JSON.stringify({ apiVersion: 'v1', kind: 'List', items }),
    });
  }

  get kubectlPath(): string {
    return this.#kubectl;
  }

  /** One value of one object. */
  async value(resource: string, jsonPath: string, namespace = 'default'): Promise<string> {
    return (await this.kubectl(['get', '-n', namespace, resource, '-o', `jsonpath=${jsonPath}`])).trim();
  }

  /** Runs a program of the machine in a node's namespaces (or `outside` the cluster). */
  async exec(node: string, command: readonly string[], timeoutMs = 30_000): Promise<string> {
    const { stdout } = await flatnet(['lab', 'exec', '--name', this.name, node, '--', ...command], timeoutMs);
    return stdout;
  }

  /** Process ids of these nodes' agents, on this machine; 0 for one that has none. */
  async agentPids(nodes: readonly string[]): Promise<number[]> {
    const known = await this.#nodes();
    return nodes.map((node) => known.find(({ name }) => name === node)?.agent?.pid ?? 0);
  }

  /** GET on a node's loopback. For what is asked often: a tenth of the work that `exec` is. */
  async get(node: string, url: string): Promise<string> {
    let pid = this.#pids.get(node);
    if (pid === undefined) {
      pid = (await this.#nodes()).find(({ name }) => name === node)?.pid ?? 0;
      this.#pids.set(node, pid);
    }
    const netns = Netns.ofPid(pid);
    try {
      return (await run('curl', ['-sS', '--max-time', '10', url], { netns: netns.fd })).stdout;
    } finally {
      netns.close();
    }
  }

  async #nodes(): Promise<NodeStatus[]> {
    const { stdout } = await flatnet(['lab', 'status', '--name', this.name, '-o', 'json']);
    return (JSON.parse(stdout) as { nodes: NodeStatus[] }).nodes;
  }
}

/** Awaits that `probe` no longer throws and returns something true; throws its last error after `timeoutMs`. */
export async function eventually<T>(probe: () => Promise<T>, timeoutMs = 20_000): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    try {
      const value = await probe();
      if (Boolean(value) || Date.now() > deadline) return value;
    } catch (error) {
      if (Date.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A folder for one test's files, removed by the returned function. */
export function scratch(files: Readonly<Record<string, string>>): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'flatnet-test-'));
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

export const AGNHOST = 'registry.k8s.io/e2e-test-images/agnhost:2.53';

/** A netexec Deployment that is ready when it answers. */
export function echoDeployment(name: string, replicas: number): object {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name },
    spec: {
      replicas,
      selector: { matchLabels: { app: name } },
      template: {
        metadata: { labels: { app: name } },
        spec: {
          containers: [
            {
              name: 'netexec',
              image: AGNHOST,
              args: ['netexec', '--http-port=8080', '--delay-shutdown=3'],
              ports: [{ name: 'http', containerPort: 8080 }],
              readinessProbe: { httpGet: { path: '/healthz', port: 'http' }, periodSeconds: 1 },
            },
          ],
        },
      },
    },
  };
}

export function service(name: string, spec: object): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: { selector: { app: name }, ports: [{ name: 'http', port: 80, targetPort: 'http' }], ...spec },
  };
}

/** A pod of the machine's own tools, on a node of choice. */
export function clientPod(name: string, node: string): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      nodeName: node,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'tools', image: 'nicolaka/netshoot', command: ['sleep', '3600'] }],
    },
  };
}
