import type { Entry } from './entry.ts';

/**
 * One way into the kernel, or to a worker, for the entries that it handles. Everything is answered in the call.
 * Implementations: rtnetlink for all that the kernel has itself, and one for each backend that needs another tool.
 */
export interface EntryDriver {
  /** What it handles tells no events: everything is compared so often, milliseconds. Absent: events tell. */
  readonly verifyMs?: number;
  handles(entry: Entry): boolean;
  /** What of ours there is: on devices that are marked as ours, or wanted by name. */
  observe(wantedDevices: ReadonlySet<string>): Entry[];
  /** Makes the entry, in place of one with the same key. Throws FlatnetError in the kernel's words. */
  put(entry: Entry): void;
  /** Removes the entry; one that is gone already is no error. */
  remove(entry: Entry): void;
}
