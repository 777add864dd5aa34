import { mkdirSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import type { Attachment } from '../protocol/request.ts';
import type { AttachmentRecord } from './attachment-record.ts';
import { Journal } from './journal.ts';
import { formatRecord, parseRecord } from './record-codec.ts';

/** Neither can be in a container's id or an interface's name. */
const SEPARATOR = ':';
const JOURNAL = 'attachments';
/** Of files with one record each, `<containerID>:<ifname>.json`, as they were written before there was the journal. */
const SUFFIX = '.json';
const TEMPORARY_SUFFIX = '.tmp';
/** Less than this is not worth to be written anew. */
const TIDY_FROM_BYTES = 65_536;

export const attachmentKey = ({ containerId, ifName }: Attachment): string =>
  `${containerId}${SEPARATOR}${ifName}`;

interface Entry {
  readonly record: AttachmentRecord;
  /** Where it begins in the journal; undefined: it is in a file of its own. */
  readonly offset: number | undefined;
  readonly bytes: number;
}

/**
 * The node's attachments, in the file `attachments` of the folder, mode 0600: a line of JSON for each, `#` at its
 * beginning when it is gone. Read once, at `open`; written before the interface is made and struck out after it is
 * gone. So whoever is killed in between leaves a record, and what it tells of is found. No fsync: what a power cut can
 * lose are pods that it has ended.
 */
export class AttachmentFolder {
  readonly path: string;
  readonly #journal: Journal;
  readonly #entries = new Map<string, Entry>();

  private constructor(path: string) {
    this.path = path;
    this.#journal = new Journal(join(path, JOURNAL));
  }

  /** Opens the folder, made if missing. Records that cannot be read are logged and passed over. Throws ATTACHMENTS_IO. */
  static open(path: string, logger: Logger): AttachmentFolder {
    const folder = new AttachmentFolder(path);
    const names = folder.#io('open', path, () => {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      return readdirSync(path);
    });
    folder.#readJournal(logger);
    for (const name of names) {
      if (name.endsWith(TEMPORARY_SUFFIX)) rmSync(join(path, name), { force: true });
      else if (name.endsWith(SUFFIX)) folder.#takeIn(name, logger);
    }
    return folder;
  }

  get size(): number {
    return this.#entries.size;
  }

  all(): AttachmentRecord[] {
    return [...this.#entries.values()].map(({ record }) => record);
  }

  get(attachment: Attachment): AttachmentRecord | undefined {
    return this.#entries.get(attachmentKey(attachment))?.record;
  }

  /** Throws ATTACHMENTS_IO (full disk, read-only), and leaves nothing behind. */
  put(record: AttachmentRecord): void {
    const key = attachmentKey(record);
    const text = formatRecord(record);
    const before = this.#entries.get(key);
    this.#io('write', this.#journal.path, () => {
      const offset = this.#journal.append(text);
      // Of two lines about one interface the later one counts.
      this.#entries.set(key, { record, offset, bytes: Buffer.byteLength(text) + 1 });
      try {
        if (offset === undefined) this.#rewrite();
      } catch (error) {
        this.#entries.delete(key);
        if (before !== undefined) this.#entries.set(key, before);
        throw error;
      }
      if (before !== undefined && offset !== undefined) this.#erase(key, before);
    });
  }

  /** Of what is not there it does nothing. Throws ATTACHMENTS_IO. */
  delete(attachment: Attachment): void {
    const key = attachmentKey(attachment);
    const entry = this.#entries.get(key);
    this.#io('write', this.#journal.path, () => {
      if (entry === undefined) {
        // One that could not be read when the folder was opened.
        rmSync(this.#fileOf(key), { force: true });
        return;
      }
      const erased = this.#erase(key, entry);
      this.#entries.delete(key);
      if (!erased) this.#rewrite();
      else if (this.#journal.size > TIDY_FROM_BYTES && this.#mostlyStruck()) this.#tidy();
    });
  }

  #erase(key: string, { offset }: Entry): boolean {
    if (offset !== undefined) return this.#journal.strike(offset);
    rmSync(this.#fileOf(key), { force: true });
    return true;
  }

  #mostlyStruck(): boolean {
    let live = 0;
    for (const { bytes } of this.#entries.values()) live += bytes;
    return live * 2 < this.#journal.size;
  }

  /** Makes the journal shorter; on a full disk it stays as long as it is. */
  #tidy(): void {
    try {
      this.#rewrite();
    } catch {
      // All that counts is in it.
    }
  }

  #rewrite(): void {
    mkdirSync(this.path, { recursive: true, mode: 0o700 });
    const all = [...this.#entries];
    const offsets = this.#journal.rewrite(all.map(([, { record }]) => formatRecord(record)));
    for (const [index, [key, entry]] of all.entries()) {
      this.#entries.set(key, { ...entry, offset: offsets[index] });
      if (entry.offset === undefined) rmSync(this.#fileOf(key), { force: true });
    }
  }

  #readJournal(logger: Logger): void {
    const { path } = this.#journal;
    for (const { text, offset } of this.#io('read', path, () => this.#journal.read())) {
      try {
        const record = parseRecord(text);
        const key = attachmentKey(record);
        const before = this.#entries.get(key);
        this.#entries.set(key, { record, offset, bytes: Buffer.byteLength(text) + 1 });
        if (before !== undefined) this.#erase(key, before);
      } catch (error) {
        // DEL finds the interface by its name, and the address by its own file.
        logger.warn({ file: path, error: String(error) }, 'record of a pod interface cannot be read');
      }
    }
  }

  /** A file with one record, of an earlier version: its record goes into the journal. */
  #takeIn(name: string, logger: Logger): void {
    const file = join(this.path, name);
    try {
      const record = parseRecord(readFileSync(file, 'utf8'));
      const key = attachmentKey(record);
      if (`${key}${SUFFIX}` !== name) throw new Error('it is not named like what it tells of');
      if (this.#entries.has(key)) {
        rmSync(file, { force: true });
        return;
      }
      this.#entries.set(key, { record, offset: undefined, bytes: 0 });
      this.put(record);
    } catch (error) {
      if (error instanceof FlatnetError && error.code === 'ATTACHMENTS_IO')
        logger.warn({ file, error: describeError(error) }, 'record of a pod interface stays where it is');
      else logger.warn({ file, error: String(error) }, 'record of a pod interface cannot be read');
    }
  }

  #fileOf(key: string): string {
    return join(this.path, `${key}${SUFFIX}`);
  }

  #io<T>(verb: string, file: string, action: () => T): T {
    try {
      return action();
    } catch (cause) {
      throw new FlatnetError(
        `cannot ${verb} ${file}: ${cause instanceof Error ? cause.message : String(cause)}`,
        {
          code: 'ATTACHMENTS_IO',
          hint: 'the folder must be writable for the agent and the disk not full',
          cause,
        },
      );
    }
  }
}
