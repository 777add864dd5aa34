import table from './kubernetes-types.json' with { type: 'json' };

/** One field of a built-in type, as kubernetes-types.json writes it: `name number type [~mergeKey] [!]`. */
export interface TableField {
  /** JSON name; empty where the type's own fields stand in the parent (an embedded Go struct). */
  readonly name: string;
  /** Protobuf field number. */
  readonly number: number;
  readonly container: 'one' | 'list' | 'map';
  /** A letter (s string, i integer, f float, b boolean, y bytes, Q quantity, I int or string, T time, M micro time, J any) or the name of a type. */
  readonly type: string;
  /** Values of a map that are lists themselves. */
  readonly listOfValues: boolean;
  readonly atomic: boolean;
  readonly listType: 'atomic' | 'set' | 'map' | undefined;
  readonly listKeys: readonly string[];
  readonly keyDefaults: Readonly<Record<string, string>>;
  readonly patchMergeKey: string | undefined;
  readonly retainKeys: boolean;
}

export interface TableType {
  readonly fields: readonly TableField[];
  readonly required: readonly string[];
  readonly atomic: boolean;
}

interface RawType {
  readonly fields: readonly string[];
  readonly required?: readonly string[];
  readonly atomic?: boolean;
}

const RAW = table as Readonly<Record<string, RawType>>;
const parsed = new Map<string, TableType>();

/** The type of that name (`core.v1.Pod`); undefined where the table has none. */
export function tableType(name: string): TableType | undefined {
  const known = parsed.get(name);
  if (known !== undefined) return known;
  const raw = RAW[name];
  if (raw === undefined) return undefined;
  const type = {
    fields: raw.fields.map(parseField),
    required: raw.required ?? [],
    atomic: raw.atomic === true,
  };
  parsed.set(name, type);
  return type;
}

/** Names in the table of a group and version, in the short form: `core.v1`, `networking.v1`. */
export function tableGroup(group: string): string {
  return group === '' ? 'core' : (group.split('.', 1)[0] ?? '');
}

const FIELD = /^(\S+) (\d+) (\*|\+|\[[^\]]*\]|\{!?\})?(!?)(\*?)(\S+)(?: ~(\S*))?( !)?$/;

function parseField(line: string): TableField {
  const match = FIELD.exec(line);
  if (match === null) throw new Error(`type table: cannot read "${line}"`);
  const [, name = '', number, form = '', atomic, inner, type = '', mergeKey, retain] = match;
  const listType = form === '*' ? 'atomic' : form === '+' ? 'set' : form.startsWith('[') ? 'map' : undefined;
  const { keys, defaults } = parseKeys(listType === 'map' ? form.slice(1, -1) : '');
  return {
    name: name === '~' ? '' : name,
    number: Number(number),
    container: form.startsWith('{') ? 'map' : listType === undefined ? 'one' : 'list',
    type,
    listOfValues: inner === '*',
    atomic: form === '{!}' || atomic === '!',
    listType,
    listKeys: keys,
    keyDefaults: defaults,
    patchMergeKey: mergeKey,
    retainKeys: retain !== undefined,
  };
}

function parseKeys(text: string): { keys: string[]; defaults: Record<string, string> } {
  const defaults: Record<string, string> = {};
  const keys = text.split(',').filter((key) => key !== '');
  const names = keys.map((key) => {
    const [name = '', value] = key.split('=', 2);
    if (value !== undefined) defaults[name] = value;
    return name;
  });
  return { keys: names, defaults };
}
