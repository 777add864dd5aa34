import { mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { Logger } from '../../log/logger.ts';
import type { Attachment } from '../protocol/request.ts';
import type { AttachmentRecord } from './attachment-record.ts';
import { formatRecord, parseRecord } from './record-codec.ts';

/** Neither can be in a container's id or an interface's name. */
const SEPARATOR = ':';
const SUFFIX = '.json';
const TEMPORARY_SUFFIX = '.tmp';

export const attachmentKey = ({ containerId, ifName }: Attachment): string =>
  `${containerId}${SEPARATOR}${ifName}`;

/**
 * The node's attachments, each in a file of its own: `<containerID>:<ifname>.json`, mode 0600. Read once, at `open`;
 * written in one step, before the interface is made and removed after it is gone. So whoever is killed in between
 * leaves a record, and what it tells of is found. No fsync: what a power cut can lose are pods that it has ended.
 */
export class AttachmentFolder {
  readonly path: string;
  readonly #records = new Map<string, AttachmentRecord>();

  private constructor(path: string) {
    this.path = path;
  }

  /** Opens the folder, made if missing. Records that cannot be read are logged and passed over. Throws ATTACHMENTS_IO. */
  static open(path: string, logger: Logger): AttachmentFolder {
    const folder = new AttachmentFolder(path);
    for (const name of folder.#io('open', path, () => {
      mkdirSync(path, { recursive: true, mode: 0o700 });
      return readdirSync(path);
    })) {
      if (name.endsWith(TEMPORARY_SUFFIX)) rmSync(join(path, name), { force: true });
      else if (name.endsWith(SUFFIX)) folder.#read(name, logger);
    }
    return folder;
  }

  get size(): number {
    return this.#records.size;
  }

  all(): AttachmentRecord[] {
    return [...this.#records.values()];
  }

  get(attachment: Attachment): AttachmentRecord | undefined {
    return this.#records.get(attachmentKey(attachment));
  }

  /** Throws ATTACHMENTS_IO (full disk, read-only), and leaves nothing behind. */
  put(record: AttachmentRecord): void {
    const file = this.#file(record);
    const temporary = join(this.path, `.${attachmentKey(record)}${TEMPORARY_SUFFIX}`);
    this.#io('write', file, () => {
      try {
        writeFileSync(temporary, formatRecord(record), { mode: 0o600 });
        renameSync(temporary, file);
      } catch (error) {
        rmSync(temporary, { force: true });
        throw error;
      }
    });
    this.#records.set(attachmentKey(record), record);
  }

  /** Of what is not there it does nothing. Throws ATTACHMENTS_IO. */
  delete(attachment: Attachment): void {
    const file = this.#file(attachment);
    this.#io('remove', file, () => rmSync(file, { force: true }));
    this.#records.delete(attachmentKey(attachment));
  }

  #read(name: string, logger: Logger): void {
    const file = join(this.path, name);
    try {
      const record = parseRecord(readFileSync(file, 'utf8'));
      if (`${attachmentKey(record)}${SUFFIX}` !== name)
        throw new Error('it is not named like what it tells of');
      this.#records.set(attachmentKey(record), record);
    } catch (error) {
      // DEL finds the interface by its name, and the address by its own file.
      logger.warn({ file, error: String(error) }, 'record of a pod interface cannot be read');
    }
  }

  #file(attachment: Attachment): string {
    return join(this.path, `${attachmentKey(attachment)}${SUFFIX}`);
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
