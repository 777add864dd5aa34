import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import type { PodFeature } from '../pod-feature.ts';
import type { Attachment } from '../protocol/request.ts';

/**
 * Capability `aliases`: names for containers beside those that a cluster's DNS knows, in a file in the way of
 * hosts(5), which name servers read (dnsmasq's `addn-hosts`, the plugin `hosts` of CoreDNS). It is written anew only
 * for containers that have aliases, and is there only while one has.
 */
export class Aliases implements PodFeature {
  readonly name = 'aliases';
  readonly #path: string;
  readonly #lines = new Map<string, string>();

  constructor(path: string) {
    this.#path = path;
  }

  add(record: AttachmentRecord): void {
    if (this.#take(record)) this.#write();
  }

  remove(attachment: Attachment): void {
    if (this.#lines.delete(keyOf(attachment))) this.#write();
  }

  check(record: AttachmentRecord): string[] {
    const { aliases } = record.runtimeConfig;
    return aliases.length === 0 || this.#lines.has(keyOf(record))
      ? []
      : [`its aliases are not in ${this.#path}`];
  }

  gc(isValid: (attachment: Attachment) => boolean): void {
    const gone = [...this.#lines.keys()].filter((key) => !isValid(attachmentOf(key)));
    for (const key of gone) this.#lines.delete(key);
    if (gone.length > 0) this.#write();
  }

  restore(records: readonly AttachmentRecord[]): void {
    this.#lines.clear();
    for (const record of records) this.#take(record);
    this.#write();
  }

  #take(record: AttachmentRecord): boolean {
    const { aliases } = record.runtimeConfig;
    if (aliases.length === 0) return false;
    const names = aliases.join(' ');
    const lines = record.addresses.map(({ ip }) => `${ip.toString()} ${names}\n`);
    this.#lines.set(keyOf(record), lines.join(''));
    return true;
  }

  #write(): void {
    const temporary = `${this.#path}.tmp`;
    try {
      if (this.#lines.size === 0) {
        rmSync(this.#path, { force: true });
        return;
      }
      writeFileSync(temporary, [...this.#lines.values()].join(''), { mode: 0o644 });
      renameSync(temporary, this.#path);
    } catch (cause) {
      throw new FlatnetError(
        `cannot write ${this.#path}: ${cause instanceof Error ? cause.message : String(cause)}`,
        {
          code: 'ATTACHMENTS_IO',
          hint: 'the folder must be writable for the agent and the disk not full',
          cause,
        },
      );
    }
  }
}

const keyOf = ({ containerId, ifName }: Attachment): string => `${containerId}:${ifName}`;

function attachmentOf(key: string): Attachment {
  const [containerId = '', ifName = ''] = key.split(':');
  return { containerId, ifName };
}
