import type { UserInfo } from '../auth/user-info.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';

/** A write that is about to happen. Objects are in the storage version. */
export interface Change {
  readonly operation: 'create' | 'update' | 'delete';
  readonly definition: ResourceDefinition;
  readonly namespace: string;
  readonly name: string;
  /** The new state; with delete the last one. */
  readonly object: KubeObject;
  readonly old: KubeObject | undefined;
  readonly subresource: string | undefined;
  readonly user: UserInfo;
}

/** What a plugin holds for a write: kept when the write happens, given back when it fails or was a dry run. */
export interface Reservation {
  readonly commit: () => void;
  readonly rollback: () => void;
}

export interface AdmissionPlugin {
  /** Before validation: may change the object or refuse the change by throwing a StatusError. */
  readonly admit?: (change: Change) => void;
  /** After validation: takes what is scarce (addresses, ports). */
  readonly reserve?: (change: Change) => Reservation | undefined;
  /** After the object is gone from the store. */
  readonly released?: (object: KubeObject, definition: ResourceDefinition) => void;
}

/** The plugins in their order. */
export class AdmissionChain {
  readonly #plugins: readonly AdmissionPlugin[];

  constructor(plugins: readonly AdmissionPlugin[]) {
    this.#plugins = plugins;
  }

  admit(change: Change): void {
    for (const plugin of this.#plugins) plugin.admit?.(change);
  }

  reserve(change: Change): Reservation {
    const held: Reservation[] = [];
    const rollback = (): void => {
      for (const one of held.reverse()) one.rollback();
    };
    try {
      for (const plugin of this.#plugins) {
        const reservation = plugin.reserve?.(change);
        if (reservation !== undefined) held.push(reservation);
      }
    } catch (error) {
      rollback();
      throw error;
    }
    return { rollback, commit: () => held.forEach((one) => one.commit()) };
  }

  released(object: KubeObject, definition: ResourceDefinition): void {
    for (const plugin of this.#plugins) plugin.released?.(object, definition);
  }
}
