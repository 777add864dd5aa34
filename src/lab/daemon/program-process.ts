import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { sleep } from '../../timing/backoff.ts';

const STOP_PATIENCE_MS = 3000;

/** A program of the control plane, in the fabric's namespace, writing to a log of its own. */
export class Program {
  readonly name: string;
  readonly #child: ChildProcess;
  readonly #logFile: string;
  #stopping = false;
  #how: string | undefined;

  constructor(name: string, path: string, flags: readonly string[], logFile: string, logger: Logger) {
    this.name = name;
    this.#logFile = logFile;
    const log = openSync(logFile, 'a', 0o640);
    this.#child = spawn(path, flags, { stdio: ['ignore', log, log] });
    closeSync(log);
    this.#child.once('error', (error) => (this.#how = error.message));
    this.#child.once('exit', (code, signal) => {
      this.#how = code === null ? `signal ${signal}` : `exit code ${code}`;
      if (!this.#stopping)
        logger.error({ program: name, how: this.#how, logFile }, 'a program of the control plane ended');
    });
  }

  get ended(): boolean {
    return this.#how !== undefined;
  }

  /** Throws CONTROL_PLANE_FAILED with the program's last words. */
  throwIfEnded(): void {
    if (this.#how === undefined) return;
    const words = readFileSync(this.#logFile, 'utf8').trim().split('\n').slice(-2).join(' | ').slice(-400);
    throw new FlatnetError(`${this.name} ended (${this.#how}): ${words}`, { code: 'CONTROL_PLANE_FAILED' });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.ended) return;
    const over = new AbortController();
    this.#child.once('exit', () => over.abort());
    this.#child.kill('SIGTERM');
    await sleep(STOP_PATIENCE_MS, over.signal);
    this.#child.kill('SIGKILL');
  }
}
