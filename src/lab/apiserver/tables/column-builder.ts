import type { Json } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { age } from './age.ts';
import type { TableColumn, TableColumns } from './table-columns.ts';

type Cell = (object: KubeObject, now: number) => Json;

interface ColumnSpec {
  readonly name: string;
  readonly cell: Cell;
  readonly type?: TableColumn['type'];
  /** Only with `-o wide`. */
  readonly wide?: boolean;
}

/** A column of a table: head, cell, and whether it is only for `-o wide`. */
export function column(name: string, cell: Cell, type: TableColumn['type'] = 'string'): ColumnSpec {
  return { name, cell, type };
}

export function wide(name: string, cell: Cell): ColumnSpec {
  return { name, cell, wide: true };
}

export const NAME = column('Name', (object) => object.metadata.name ?? '');
export const AGE = column('Age', (object, now) => age(object.metadata.creationTimestamp, now));

export function table(...specs: readonly ColumnSpec[]): TableColumns {
  return {
    columns: specs.map(({ name, type, wide: isWide }) => ({
      name,
      type: type ?? 'string',
      priority: isWide === true ? 1 : 0,
    })),
    cells: (object, now) => specs.map(({ cell }) => cell(object, now)),
  };
}

/** What kubectl shows where there is nothing. */
export function orNone(texts: readonly string[] | string | undefined): string {
  const text = typeof texts === 'string' ? texts : (texts ?? []).join(',');
  return text === '' ? '<none>' : text;
}
