import type { Json } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';

export interface TableColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  readonly format?: string;
  readonly description?: string;
  /** 0 is always shown, 1 only with `-o wide`. */
  readonly priority: 0 | 1;
}

/** How kubectl prints a kind: column heads, and the cells of one object at a time. */
export interface TableColumns {
  readonly columns: readonly TableColumn[];
  readonly cells: (object: KubeObject, now: number) => Json[];
}
