import type { AttachmentRecord } from './attachments/attachment-record.ts';
import type { Attachment } from './protocol/request.ts';
import type { AddResult } from './protocol/result.ts';
import type { RuntimeConfig } from './protocol/runtime-config.ts';

/**
 * Something that the node does for a pod's interface beside connecting it. Calls about one interface never overlap,
 * calls about several may. What a feature needs to know again later is in the record, which is kept on disk.
 */
export interface PodFeature {
  /** For the log. */
  readonly name: string;
  /** The interface is there and works. Throwing (CniError for a code of the specification) undoes the whole ADD. */
  add(attachment: AttachmentRecord, result: AddResult, runtimeConfig: RuntimeConfig): void | Promise<void>;
  /** Idempotent, also for what was never added. The record is missing where the interface was made by another plugin. */
  remove(attachment: Attachment, record: AttachmentRecord | undefined): void | Promise<void>;
  /** What is not as `add` left it, one clause each. */
  check(attachment: AttachmentRecord, runtimeConfig: RuntimeConfig): string[] | Promise<string[]>;
  /** Removes what belongs to attachments that are not valid any more, also when no record tells of them. */
  gc(isValid: (attachment: Attachment) => boolean): void | Promise<void>;
  /** At the agent's start, and when the kernel may have lost it: everything that should stand. */
  restore(attachments: readonly AttachmentRecord[]): void | Promise<void>;
}
