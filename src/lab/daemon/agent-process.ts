import { closeSync, openSync } from 'node:fs';
import type { ChildProcess } from 'node:child_process';
import type { Logger } from '../../log/logger.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';
import type { LabNode } from '../node/lab-node.ts';
import { childrenOf, identifyProcess, type ProcessIdentity } from '../state/process-identity.ts';

export const NODE_KUBECONFIG = '/etc/flatnet/kubeconfig';
export const NODE_AGENT_CONFIG = '/etc/flatnet/agent.yaml';

export interface AgentProcessOptions {
  readonly node: LabNode;
  /** Command line of this program inside of the node. */
  readonly flatnet: readonly string[];
  readonly logFile: string;
  readonly logger: Logger;
  /** Each time that the agent has started or ended. */
  readonly onChange: (agent: ProcessIdentity | undefined, restarts: number) => void;
}

/** A run this long was a good one: the next failure is tried again soon. */
const STABLE_MS = 10_000;

/** Keeps a node's agent running, as a DaemonSet would: started again with back-off whenever it ends. */
export async function keepAgent(options: AgentProcessOptions, signal: AbortSignal): Promise<void> {
  const backoff = new Backoff({ initialMs: 200, maxMs: 10_000 });
  for (let restarts = 0; !signal.aborted; restarts += 1) {
    const startedAt = Date.now();
    const how = await runAgent(options, restarts, signal);
    if (signal.aborted) return;
    options.onChange(undefined, restarts);
    options.logger.warn({ node: options.node.name, how }, 'the agent ended and is started again');
    if (Date.now() - startedAt > STABLE_MS) backoff.reset();
    await sleep(backoff.next(), signal);
  }
}

async function runAgent(
  options: AgentProcessOptions,
  restarts: number,
  signal: AbortSignal,
): Promise<string> {
  const { node, flatnet } = options;
  const log = openSync(options.logFile, 'a', 0o640);
  const [program = '', ...args] = flatnet;
  const agent = [
    'agent',
    '--kubeconfig',
    NODE_KUBECONFIG,
    '--node-name',
    node.name,
    '--config',
    NODE_AGENT_CONFIG,
  ];
  const child = node.spawn(program, [...args, ...agent], {
    stdio: ['ignore', log, log],
    env: { PATH: process.env['PATH'], HOME: '/root', NODE_NAME: node.name },
  });
  closeSync(log);
  const ended = new Promise<string>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, by) => resolve(code === null ? `signal ${by}` : `exit code ${code}`));
  });
  options.onChange(await identityOf(child, signal), restarts);
  return await ended;
}

/** nsenter forks once to be inside of the PID namespace; its child is the agent. */
async function identityOf(child: ChildProcess, signal: AbortSignal): Promise<ProcessIdentity | undefined> {
  for (let tries = 0; tries < 200 && child.exitCode === null && !signal.aborted; tries += 1) {
    const pid = childrenOf(child.pid ?? 0)[0];
    if (pid !== undefined) return identifyProcess(pid);
    await sleep(5, signal);
  }
  return undefined;
}
