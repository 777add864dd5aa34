import { setMaxListeners } from 'node:events';
import { hostname } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import { readInvocation, type FlagValues, type Invocation } from '../config/invocation.ts';
import type { KubeProxyConfig } from '../config/proxy-config.ts';
import { proxyAccess } from './access.ts';
import { watchFile } from './file-watch.ts';
import { Session } from './session.ts';
import { setUpMachine, tellWithoutEffect } from './set-up.ts';

export interface ProxyServerOptions {
  readonly flags: FlagValues;
  /** What file and flags say at the start. */
  readonly invocation: Invocation;
  readonly logger: Logger;
  /** Called with the verbosity that a changed file asks for. */
  readonly setVerbosity: (verbosity: number) => void;
}

/** A session that runs, and how it is ended. */
interface Current {
  readonly session: Session;
  readonly config: KubeProxyConfig;
  readonly end: AbortController;
}

/** `flatnet proxy`: the proxy alone, as long as the process lives, through all changes of its file. */
export class ProxyServer {
  readonly #options: ProxyServerOptions;
  #current: Current | undefined;
  /** To be run in place of the current session. */
  #next: Current | undefined;
  /** Changes of the file are taken one after the other. */
  #turn: Promise<void> = Promise.resolve();

  constructor(options: ProxyServerOptions) {
    this.#options = options;
  }

  /**
   * Runs until the signal is aborted, and leaves everything in the kernel. Rejects where the kernel cannot serve the
   * mode, the Node does not come, or a port cannot be had that must be.
   */
  async run(signal: AbortSignal): Promise<void> {
    setMaxListeners(0, signal);
    const { invocation, logger } = this.#options;
    const { config, ignored, notes } = invocation;
    if (ignored.length > 0) {
      logger.warn({ flags: ignored }, `ignored, as --config is given: ${ignored.join(', ')}`);
    }
    for (const note of notes) logger.warn(note);
    const first = await this.#prepare(config);
    logger.info({ mode: config.mode, node: this.#nodeName(config) }, 'proxy starting');
    await setUpMachine(config, logger);
    const end = new AbortController();
    const watching = this.#watch(AbortSignal.any([signal, end.signal]));
    try {
      await this.#runSessions(first, signal);
    } finally {
      end.abort();
      await watching;
      await this.#turn;
    }
  }

  async #runSessions(first: Current, signal: AbortSignal): Promise<void> {
    let fallback: KubeProxyConfig | undefined;
    for (let current: Current | undefined = first; current !== undefined && !signal.aborted;) {
      this.#current = current;
      this.#next = undefined;
      try {
        await current.session.run(AbortSignal.any([signal, current.end.signal]));
        fallback = this.#current.config;
        current = this.#next;
      } catch (error) {
        // The first one, and the one that was well before: there is nothing better to run.
        if (fallback === undefined || signal.aborted) throw error;
        const text = describeError(error);
        this.#options.logger.error(
          { error: text },
          `the changed configuration cannot be served, going back to the one before: ${text}`,
        );
        current = await this.#prepare(fallback);
        fallback = undefined;
      }
    }
  }

  async #prepare(config: KubeProxyConfig): Promise<Current> {
    const { logger, flags } = this.#options;
    tellWithoutEffect(config, logger);
    const { kubeconfig } = config.clientConnection;
    const master = flags.get('master');
    const access = await proxyAccess(kubeconfig, typeof master === 'string' ? master : '');
    const session = new Session({ config, access, nodeName: this.#nodeName(config), logger });
    return { session, config, end: new AbortController() };
  }

  #nodeName(config: KubeProxyConfig): string {
    const name = (config.hostnameOverride || hostname()).trim().toLowerCase();
    if (name !== '') return name;
    throw new FlatnetError('this machine has no host name', {
      code: 'NODE_UNKNOWN',
      hint: 'name the Node object with --hostname-override',
    });
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const path = this.#options.flags.get('config');
    if (typeof path !== 'string' || path === '') return;
    const changed = (): void => {
      this.#turn = this.#turn.then(async () => this.#reread());
    };
    await watchFile(path, changed, signal);
  }

  /** What cannot be read or served is told, and all stays as it was. */
  async #reread(): Promise<void> {
    const { flags, logger, setVerbosity } = this.#options;
    const current = this.#current;
    if (current === undefined) return;
    try {
      const { config } = await readInvocation(flags);
      if (isDeepStrictEqual(config, current.config)) return;
      logger.info({ mode: config.mode }, 'the configuration has changed');
      if (current.session.canTake(config)) {
        await current.session.switchTo(config);
        this.#current = { ...current, config };
      } else {
        this.#next = await this.#prepare(config);
        current.end.abort();
      }
      setVerbosity(config.logging.verbosity);
      await setUpMachine(config, logger);
    } catch (error) {
      const text = describeError(error);
      logger.error({ error: text }, `the changed configuration is not taken, the one before stays: ${text}`);
    }
  }
}
