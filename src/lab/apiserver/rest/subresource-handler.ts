import type { Call } from '../http/call.ts';
import type { ResourcePath } from './request-info.ts';

/** Answers one subresource or review. */
export type SubresourceAction = (call: Call, path: ResourcePath) => void | Promise<void>;

/** Subresources other than status, and kinds that are only questions. */
export class SubresourceHandler {
  /** By `METHOD group/resource[/subresource]`. */
  readonly #actions: ReadonlyMap<string, SubresourceAction>;
  readonly #virtual: ReadonlySet<string>;

  constructor(actions: ReadonlyMap<string, SubresourceAction>) {
    this.#actions = actions;
    this.#virtual = new Set(
      [...actions.keys()].filter((key) => key.split('/').length === 2).map((key) => key.split(' ')[1] ?? ''),
    );
  }

  /** Whether the path names a kind that is not stored. */
  isVirtual(path: ResourcePath): boolean {
    return this.#virtual.has(`${path.group}/${path.resource}`);
  }

  /** False where nobody here answers such a request. */
  async handle(call: Call, path: ResourcePath): Promise<boolean> {
    const suffix = path.subresource === undefined ? '' : `/${path.subresource}`;
    const action = this.#actions.get(`${call.method} ${path.group}/${path.resource}${suffix}`);
    if (action === undefined) return false;
    await action(call, path);
    return true;
  }
}
