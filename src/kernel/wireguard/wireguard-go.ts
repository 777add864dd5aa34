import { closeSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip } from '../../net/ip.ts';
import { findProgram } from '../exec/find-program.ts';
import { runSync } from '../exec/run.ts';
import { ERRNO, errnoError } from '../libc/errno.ts';
import type { RouteKernel } from '../netlink/route-kernel.ts';
import { bindUdp } from '../netns/listen.ts';
import type { WireguardChange, WireguardDevice, WireguardKernel } from './objects.ts';
import { portTaken } from './port-taken.ts';
import { GET_REQUEST, parseDevice, readErrno, renderSet } from './uapi-codec.ts';
import { UapiSocket } from './uapi-socket.ts';

/** Where wireguard-go has its sockets, and wg(8) looks for them; compiled into both. */
const SOCKET_FOLDER = '/var/run/wireguard';
const PROGRAM = 'wireguard-go';
/** A Go program on a busy machine, from its start until it serves. */
const START_TIMEOUT_MS = 5_000;

export interface WireguardGoOptions {
  /** Of the same network namespace. */
  readonly route: RouteKernel;
  /** Descriptor of the network namespace; the process's own when absent. */
  readonly netns?: number;
  /** What is started, the device's name comes last. */
  readonly command?: readonly string[];
  /** Where `command` has its sockets. */
  readonly socketFolder?: string;
}

/**
 * Devices of wireguard-go: one process each, which has the device as a TUN device and ends with it. It outlives the
 * process that started it, and is found again by its socket. When it dies the device goes, which the kernel tells like
 * any other deletion.
 */
export class WireguardGo implements WireguardKernel {
  readonly provider = 'wireguard-go';
  readonly #options: WireguardGoOptions;
  readonly #sockets = new Map<string, UapiSocket>();

  constructor(options: WireguardGoOptions) {
    this.#options = options;
  }

  /** Whether wireguard-go is installed, or somebody else runs one here (a container need not have the program). */
  static isPresent(): boolean {
    if (findProgram(PROGRAM) !== undefined) return true;
    try {
      return readdirSync(SOCKET_FOLDER).some((name) => name.endsWith('.sock'));
    } catch {
      return false;
    }
  }

  device(name: string): WireguardDevice | undefined {
    // The socket's folder knows no network namespaces: one of that name may be elsewhere.
    if (this.#options.route.link(name) === undefined) return undefined;
    const answer = this.#socket(name).exchange(GET_REQUEST);
    if (answer === undefined) return undefined;
    this.#check(name, answer);
    return parseDevice(name, answer);
  }

  create(name: string): void {
    const { route, netns, command = daemonCommand() } = this.#options;
    const doing = `start wireguard-go for ${name}`;
    if (route.link(name) !== undefined) throw errnoError(doing, ERRNO.EEXIST);
    const socket = this.#socket(name);
    if (socket.exchange(GET_REQUEST) !== undefined) {
      throw new FlatnetError(`${doing}: one for that name serves another network namespace`, {
        code: 'WIREGUARD_GO_ELSEWHERE',
        hint: `end it, or give this agent a ${SOCKET_FOLDER} of its own (a mount namespace)`,
      });
    }
    const [program = PROGRAM, ...args] = command;
    runSync(program, [...args, name], {
      // Nothing of the agent's environment; with LOG_LEVEL it would keep the pipes to us open.
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
      timeoutMs: START_TIMEOUT_MS,
      ...(netns === undefined ? {} : { netns }),
    });
    // What is in the background now looks whether the device is up when it begins, and then only once a second.
    const link = route.link(name);
    if (link !== undefined) route.changeLink(link.index, { up: true });
    // The socket is there already, but only when it answers has wireguard-go set its own MTU, which ours replaces.
    if (socket.exchange(GET_REQUEST, START_TIMEOUT_MS) !== undefined) return;
    throw new FlatnetError(`${doing}: it ended at once`, {
      code: 'WIREGUARD_GO_FAILED',
      retryable: true,
      hint: `LOG_LEVEL=verbose wireguard-go --foreground ${name} shows why`,
    });
  }

  configure(name: string, change: WireguardChange): void {
    const { listenPort } = change;
    if (listenPort !== undefined) this.#checkPort(name, listenPort);
    const answer = this.#socket(name).exchange(renderSet(change));
    if (answer === undefined) throw errnoError(`configure WireGuard device ${name}`, ERRNO.ENODEV);
    this.#check(name, answer);
  }

  close(): void {
    this.#sockets.clear();
  }

  #socket(name: string): UapiSocket {
    let socket = this.#sockets.get(name);
    if (socket === undefined) {
      socket = new UapiSocket(join(this.#options.socketFolder ?? SOCKET_FOLDER, `${name}.sock`));
      this.#sockets.set(name, socket);
    }
    return socket;
  }

  /** wireguard-go binds when the device comes up, and tells a failure to its own log only. */
  #checkPort(name: string, port: number): void {
    if (this.device(name)?.listenPort === port) return;
    const { netns } = this.#options;
    try {
      for (const any of ['0.0.0.0', '::'])
        closeSync(bindUdp(Ip.parse(any), port, netns === undefined ? {} : { netns }));
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'EADDRINUSE') throw error;
      throw portTaken(name);
    }
  }

  #check(name: string, answer: string): void {
    const errno = readErrno(answer);
    if (errno === ERRNO.EADDRINUSE) throw portTaken(name);
    if (errno !== 0) throw errnoError(`configure WireGuard device ${name}`, errno, 'wireguard-go refuses it');
  }
}

/** A session of its own: what ends the agent's terminal or process group does not end the tunnel. */
function daemonCommand(): string[] {
  const program = findProgram(PROGRAM);
  if (program === undefined) {
    throw new FlatnetError(`${PROGRAM} is not installed`, {
      code: 'COMMAND_NOT_FOUND',
      hint: 'install the package wireguard-go, or load the kernel module wireguard',
    });
  }
  const setsid = findProgram('setsid');
  return setsid === undefined ? [program] : [setsid, program];
}
