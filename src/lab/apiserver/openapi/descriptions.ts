import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Descriptions of one type: its own, and of its fields by name. */
export interface TypeDescription {
  readonly text: string;
  readonly fields: ReadonlyMap<string, string>;
}

const loaded = new Map<string, ReadonlyMap<string, TypeDescription>>();

/**
 * What the published typings (kubernetes-types) say about a type of the table, such as `core.v1.Pod`; read only
 * when somebody asks `kubectl explain`. Undefined where the typings are not installed or lack the type.
 */
export function describeType(name: string): TypeDescription | undefined {
  const [group = '', version = '', kind = ''] = name.split('.');
  const file = `${group}/${version}.d.ts`;
  let types = loaded.get(file);
  if (types === undefined) {
    types = parseTypings(readTypings(file));
    loaded.set(file, types);
  }
  return types.get(kind);
}

function readTypings(file: string): string {
  try {
    const require = createRequire(import.meta.url);
    return readFileSync(join(dirname(require.resolve('kubernetes-types/package.json')), file), 'utf8');
  } catch {
    return '';
  }
}

/** Reads the doc comments before `export interface X {` and before its members. */
export function parseTypings(text: string): Map<string, TypeDescription> {
  const types = new Map<string, TypeDescription>();
  let comment = '';
  let fields: Map<string, string> | undefined;
  for (const match of text.matchAll(
    /\/\*\*([\s\S]*?)\*\/|^export interface (\w+)|^ {4}(['"]?)([\w$-]+)\3\??:|^\}/gm,
  )) {
    const [whole, doc, typeName, , member] = match;
    if (doc !== undefined) comment = plain(doc);
    else if (typeName !== undefined) {
      fields = new Map();
      types.set(typeName, { text: comment, fields });
      comment = '';
    } else if (member !== undefined) {
      if (comment !== '') fields?.set(member, comment);
      comment = '';
    } else if (whole === '}') fields = undefined;
  }
  return types;
}

function plain(doc: string): string {
  return doc
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
    .join('\n')
    .trim();
}
