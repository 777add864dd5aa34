import type { KeyValue } from '../../../etcd/key-value.ts';
import { describeError, FlatnetError } from '../../../errors/flatnet-error.ts';
import type { Logger } from '../../../log/logger.ts';
import { readStoredConfig, type ReadNetworkConfig, type StoredConfig } from './stored-config.ts';

/** The network's configuration: the last one in etcd that was right. */
export class ConfigInForce {
  readonly #read: ReadNetworkConfig;
  readonly #logger: Logger;
  #config: StoredConfig | undefined;
  #problem: FlatnetError | undefined;

  constructor(read: ReadNetworkConfig, logger: Logger) {
    this.#read = read;
    this.#logger = logger;
  }

  /** Undefined while there has been none. */
  get config(): StoredConfig | undefined {
    return this.#config;
  }

  /** What is wrong with the one in etcd. */
  get problem(): FlatnetError | undefined {
    return this.#problem;
  }

  /** Of an earlier run, which took it: what cannot be read is waited for as if it had not been there. */
  adopt(key: string, text: string): void {
    try {
      this.#config = readStoredConfig(key, text, this.#read);
    } catch (error) {
      const told = { error: describeError(error) };
      this.#logger.warn(told, 'the network configuration of the run before is not taken');
    }
  }

  /** A configuration that is wrong is told, and the last one stays. */
  take(stored: KeyValue): void {
    if (stored.value === this.#config?.text) {
      this.#problem = undefined;
      return;
    }
    try {
      this.#config = readStoredConfig(stored.key, stored.value, this.#read);
      this.#problem = undefined;
      for (const warning of this.#config.warnings) this.#logger.warn(warning);
      this.#logger.info(
        { key: stored.key, config: stored.value.slice(0, 2000) },
        'network configuration read from etcd',
      );
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      if (this.#problem?.message !== error.message) {
        const outcome =
          this.#config === undefined ? 'waiting for another one' : 'the last one stays in force';
        this.#logger.error(
          { error: describeError(error) },
          `wrong network configuration in etcd; ${outcome}`,
        );
      }
      this.#problem = error;
    }
  }
}
