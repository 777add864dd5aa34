import { FlatnetError } from '../../../errors/flatnet-error.ts';
import * as libc from '../../../kernel/libc/libc.ts';
import { timeval, unixAddress } from '../../../kernel/libc/structures.ts';
import { parsePeers, parseState, type WorkerPeer, type WorkerState } from './worker-answer.ts';

/** A worker that carries all it can answers within milliseconds. */
const TIMEOUT_MS = 1_000;
/** ANSWER_MAX of worker/control.h. */
const ANSWER_MAX = 32_768;
/** As in worker/peers.h. */
const PEERS_MAX = 65_536;
const NOBODY = ['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE'];

/** The control socket of one worker, which may come and go meanwhile. Each request is answered in the call. */
export class WorkerClient {
  readonly #path: string;
  readonly #buffer = Buffer.allocUnsafe(ANSWER_MAX);
  #fd: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** Undefined where no worker runs. */
  show(): WorkerState | undefined {
    const answer = this.#exchange('show');
    return answer === undefined ? undefined : parseState(answer);
  }

  /** All peers; none where no worker runs. */
  list(): WorkerPeer[] {
    const all: WorkerPeer[] = [];
    for (;;) {
      const page = parsePeers(this.#exchange(`list ${all.length}`) ?? '');
      if (page.length === 0) return all;
      all.push(...page);
      if (all.length > PEERS_MAX)
        throw new FlatnetError(`what answers on ${this.#path} lists peers without end`, {
          code: 'UDP_WORKER_ANSWER',
          hint: 'it is no udp worker: end it, and the agent starts one',
        });
    }
  }

  set({ podCidr, via, port }: WorkerPeer): void {
    if (this.#exchange(`set ${podCidr.toString()} ${via.toString()}:${port}`) !== undefined) return;
    throw new FlatnetError(`the udp worker of ${this.#path} is not running`, {
      code: 'UDP_WORKER_GONE',
      retryable: true,
    });
  }

  delete(podCidr: WorkerPeer['podCidr']): void {
    this.#exchange(`delete ${podCidr.toString()}`);
  }

  /** Ends the worker; its device stays (`stop`) or goes with it (`remove`). Its device and port are free then. */
  end(how: 'stop' | 'remove'): void {
    this.#exchange(how);
    this.close();
  }

  close(): void {
    if (this.#fd !== undefined) libc.close(this.#fd);
    this.#fd = undefined;
  }

  /** Undefined when nobody listens. Throws UDP_WORKER_SILENT, UDP_WORKER_REFUSED. */
  #exchange(request: string): string | undefined {
    // The worker at the other end of the connection may have died since, and another have taken its place.
    const answer = this.#attempt(request) ?? this.#attempt(request);
    if (answer?.startsWith('error: ') !== true) return answer;
    throw new FlatnetError(`udp worker: ${request}: ${answer.slice('error: '.length)}`, {
      code: 'UDP_WORKER_REFUSED',
    });
  }

  #attempt(request: string): string | undefined {
    try {
      const fd = this.#fd ?? this.#connect();
      libc.send(fd, Buffer.from(request), libc.MSG_NOSIGNAL, `write to ${this.#path}`);
      const length = libc.recv(fd, this.#buffer, 0, `read from ${this.#path}`);
      if (length === undefined) throw this.#silent();
      if (length > 0) return this.#buffer.toString('latin1', 0, length);
      this.close();
      return undefined;
    } catch (error) {
      this.close();
      if (!(error instanceof FlatnetError)) throw error;
      if (NOBODY.includes(error.code)) return undefined;
      throw error.code === 'EAGAIN' ? this.#silent() : error;
    }
  }

  #connect(): number {
    const fd = libc.socket(libc.AF_UNIX, libc.SOCK_SEQPACKET, 0);
    this.#fd = fd;
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_RCVTIMEO, timeval(TIMEOUT_MS));
    libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDTIMEO, timeval(TIMEOUT_MS));
    libc.connect(fd, unixAddress(this.#path), `connect to ${this.#path}`);
    return fd;
  }

  #silent(): FlatnetError {
    return new FlatnetError(`the udp worker does not answer on ${this.#path}`, {
      code: 'UDP_WORKER_SILENT',
      retryable: true,
      hint: 'it may be stopped or hang: end it (kill), and the agent starts it anew',
    });
  }
}
