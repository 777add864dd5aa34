import { readFile } from 'node:fs/promises';
import { FlatnetError } from '../errors/flatnet-error.ts';

/** Bound service account tokens are rotated on disk; client-go reads them anew every minute, too. */
const REREAD_MS = 60_000;

/** A bearer token that somebody else keeps fresh in a file. */
export class TokenFile {
  readonly #path: string;
  #token = '';
  #readAt = -Infinity;

  constructor(path: string) {
    this.#path = path;
  }

  /** Throws TOKEN_FILE when the file cannot be read or is empty. */
  async read(refresh: boolean): Promise<string> {
    if (!refresh && Date.now() - this.#readAt < REREAD_MS) return this.#token;
    try {
      this.#token = (await readFile(this.#path, 'utf8')).trim();
    } catch (error) {
      throw this.#invalid(error instanceof Error ? error.message : String(error));
    }
    if (this.#token === '') throw this.#invalid('it is empty');
    this.#readAt = Date.now();
    return this.#token;
  }

  #invalid(why: string): FlatnetError {
    return new FlatnetError(`cannot take the token from ${this.#path}: ${why}`, {
      code: 'TOKEN_FILE',
      retryable: true,
    });
  }
}
