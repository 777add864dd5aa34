import { type Json, type JsonObject, stringAt } from '../json/json.ts';
import { AGE, NAME } from '../tables/column-builder.ts';
import { age } from '../tables/age.ts';
import type { TableColumn, TableColumns } from '../tables/table-columns.ts';
import { compileJsonPath, textOf } from './json-path.ts';

const TYPES = new Set(['string', 'integer', 'number', 'boolean', 'date']);

/** Name, then the columns of the definition; only an age where it has none. */
export function printerColumns(specs: readonly JsonObject[]): TableColumns {
  const own = specs.map(ownColumn);
  const columns: TableColumn[] = [nameColumn('Name'), ...own.map((one) => one.column)];
  if (own.length === 0) columns.push(nameColumn('Age'));
  return {
    columns,
    cells: (object, now) => {
      const name = NAME.cell(object, now);
      if (own.length === 0) return [name, AGE.cell(object, now)];
      return [name, ...own.map((one) => one.cell(object, now))];
    },
  };
}

function nameColumn(name: string): TableColumn {
  return { name, type: 'string', priority: 0 };
}

function ownColumn(spec: JsonObject): {
  column: TableColumn;
  cell: (object: JsonObject, now: number) => Json;
} {
  const type = stringAt(spec, 'type') ?? 'string';
  const read = compileJsonPath(stringAt(spec, 'jsonPath') ?? '');
  const column: TableColumn = {
    name: stringAt(spec, 'name') ?? '',
    type: (TYPES.has(type) ? type : 'string') as TableColumn['type'],
    description: stringAt(spec, 'description') ?? '',
    ...(typeof spec['format'] === 'string' ? { format: spec['format'] } : {}),
    priority: spec['priority'] === undefined || spec['priority'] === 0 ? 0 : 1,
  };
  return {
    column,
    cell: (object, now) => {
      const values = read?.(object) ?? [];
      if (values.length === 0) return '';
      const [first = ''] = values;
      if (type === 'date') return age(textOf(first), now);
      return values.length === 1 && typeof first !== 'object' ? first : values.map(textOf).join(',');
    },
  };
}
