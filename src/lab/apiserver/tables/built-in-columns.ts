import { age } from './age.ts';
import type { TableColumns } from './table-columns.ts';

/** Name and age, which every kind has. */
export const NAME_AND_AGE: TableColumns = {
  columns: [
    { name: 'Name', type: 'string', priority: 0 },
    { name: 'Age', type: 'string', priority: 0 },
  ],
  cells: (object, now) => [object.metadata.name ?? '', age(object.metadata.creationTimestamp, now)],
};

export function columnsOf(_kind: string): TableColumns {
  return NAME_AND_AGE;
}
