import { get as httpGet, type IncomingMessage } from 'node:http';
import { get as httpsGet } from 'node:https';
import type { Container, Probe } from 'kubernetes-types/core/v1.js';
import { CommandError, run } from '../../kernel/exec/run.ts';
import type { ContainerProcess } from './container-process.ts';
import { connectFrom } from './socket-in-netns.ts';

export interface ProbeOutcome {
  readonly success: boolean;
  readonly message: string;
}

export interface ProbeTarget {
  readonly container: Container;
  readonly process: ContainerProcess;
  readonly podIp: string;
  /** Descriptor of the node's network namespace: probes come from the node, as the kubelet's do. */
  readonly netns: number;
}

/** Runs a probe once. Never throws: whatever goes wrong is an outcome. */
export async function runProbe(probe: Probe, target: ProbeTarget): Promise<ProbeOutcome> {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  try {
    if (probe.exec !== undefined) return await probeExec(probe.exec.command ?? [], target, timeoutMs);
    if (probe.httpGet !== undefined) return await probeHttp(probe.httpGet, target, timeoutMs);
    const port = probe.tcpSocket?.port ?? probe.grpc?.port;
    const host = probe.tcpSocket?.host ?? target.podIp;
    if (port !== undefined)
      return await probeTcp(host, portOf(target.container, port), target.netns, timeoutMs);
    return { success: true, message: '' };
  } catch (error) {
    return { success: false, message: error instanceof Error ? error.message : String(error) };
  }
}

/** A port by number, or by its name in the container's list. */
function portOf(container: Container, port: number | string): number {
  const number = Number(port);
  if (Number.isInteger(number)) return number;
  const named = (container.ports ?? []).find(({ name }) => name === port);
  if (named === undefined) throw new Error(`couldn't find port: ${port}`);
  return named.containerPort;
}

async function probeExec(
  command: readonly string[],
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const [program = '', ...args] = target.process.enter(command);
  try {
    await run(program, args, { timeoutMs });
    return { success: true, message: '' };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (error.code === 'COMMAND_TIMEOUT') {
      return {
        success: false,
        message: `command timed out: "${command.join(' ')}" timed out after ${timeoutMs / 1000}s`,
      };
    }
    return { success: false, message: `${error.stdout}${error.stderr}`.trim().slice(0, 1000) };
  }
}

async function probeTcp(host: string, port: number, netns: number, timeoutMs: number): Promise<ProbeOutcome> {
  return await new Promise((resolve) => {
    const socket = connectFrom(netns, host, port);
    const end = (outcome: ProbeOutcome): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(timeoutMs, () =>
      end({ success: false, message: `dial tcp ${host}:${port}: i/o timeout` }),
    );
    socket.once('connect', () => end({ success: true, message: '' }));
    socket.once('error', (error) =>
      end({ success: false, message: `dial tcp ${host}:${port}: ${error.message}` }),
    );
  });
}

/** Any status from 200 to 399 is a success. Certificates are not verified: the kubelet does not either. */
async function probeHttp(
  action: NonNullable<Probe['httpGet']>,
  target: ProbeTarget,
  timeoutMs: number,
): Promise<ProbeOutcome> {
  const port = portOf(target.container, action.port);
  const host = action.host ?? target.podIp;
  const scheme = (action.scheme ?? 'HTTP').toLowerCase();
  const url = `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}${absolute(action.path)}`;
  const headers: Record<string, string> = {
    'User-Agent': 'kube-probe/1.33',
    Accept: '*/*',
    Connection: 'close',
  };
  for (const { name, value } of action.httpHeaders ?? []) headers[name] = value;
  const get = scheme === 'https' ? httpsGet : httpGet;
  return await new Promise((resolve) => {
    const socket = connectFrom(target.netns, host, port);
    const options = {
      headers,
      timeout: timeoutMs,
      rejectUnauthorized: false,
      // One connection a probe; over TLS, node:https wraps the socket.
      ...(scheme === 'https' ? { socket, agent: false } : { createConnection: () => socket }),
    };
    const request = get(url, options, (response: IncomingMessage) => {
      const code = response.statusCode ?? 0;
      response.resume();
      request.destroy();
      const success = code >= 200 && code < 400;
      resolve({ success, message: success ? '' : `HTTP probe failed with statuscode: ${code}` });
    });
    const fail = (why: string): void => {
      request.destroy();
      socket.destroy();
      resolve({ success: false, message: `Get "${url}": ${why}` });
    };
    const timer = setTimeout(() => fail('context deadline exceeded (Client.Timeout exceeded)'), timeoutMs);
    request.once('close', () => clearTimeout(timer));
    request.once('error', (error) => fail(error.message));
  });
}

function absolute(path: string | undefined): string {
  return path === undefined || path === '' ? '/' : path.startsWith('/') ? path : `/${path}`;
}
