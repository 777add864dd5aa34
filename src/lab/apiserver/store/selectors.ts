import { badRequest } from '../json/status-error.ts';
import type { StoredObject } from './stored-object.ts';

export type Matcher = (object: StoredObject) => boolean;

type Labels = Readonly<Record<string, string>>;
type LabelTest = (labels: Labels) => boolean;

const SET_REQUIREMENT = /^(\S+)\s+(in|notin)\s*\(([^)]*)\)$/;
const COMPARISON = /^([^\s=!<>]+)\s*(==|=|!=|<|>)\s*([^\s]*)$/;
const KEY = /^(?:[a-z0-9A-Z.-]{1,253}\/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$/;

/** Splits at commas outside parentheses. */
function splitTerms(selector: string): string[] {
  const terms = selector.match(/(?:[^,(]|\([^)]*\))+/g) ?? [];
  return terms.map((term) => term.trim()).filter((term) => term !== '');
}

/** Label selector with all operators: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`, `a<5`. */
export function parseLabelSelector(selector: string): LabelTest {
  const tests = splitTerms(selector).map(parseLabelTerm);
  return (labels) => tests.every((test) => test(labels));
}

function parseLabelTerm(term: string): LabelTest {
  const set = SET_REQUIREMENT.exec(term);
  if (set !== null) {
    const key = labelKey(set[1] ?? '', term);
    const values = new Set((set[3] ?? '').split(',').map((value) => value.trim()));
    return set[2] === 'in'
      ? (labels) => labels[key] !== undefined && values.has(labels[key])
      : (labels) => labels[key] === undefined || !values.has(labels[key]);
  }
  const comparison = COMPARISON.exec(term);
  if (comparison !== null) return comparisonTest(labelKey(comparison[1] ?? '', term), comparison, term);
  if (term.startsWith('!')) {
    const key = labelKey(term.slice(1).trim(), term);
    return (labels) => labels[key] === undefined;
  }
  const key = labelKey(term, term);
  return (labels) => labels[key] !== undefined;
}

function comparisonTest(key: string, match: RegExpExecArray, term: string): LabelTest {
  const value = match[3] ?? '';
  switch (match[2]) {
    case '!=':
      return (labels) => labels[key] !== value;
    case '<':
    case '>': {
      const limit = Number(value);
      if (!Number.isInteger(limit)) throw unparsable('label', term);
      return match[2] === '<'
        ? (labels) => labels[key] !== undefined && Number(labels[key]) < limit
        : (labels) => labels[key] !== undefined && Number(labels[key]) > limit;
    }
    default:
      return (labels) => labels[key] === value;
  }
}

function labelKey(key: string, term: string): string {
  if (!KEY.test(key)) throw unparsable('label', term);
  return key;
}

function unparsable(what: string, term: string): Error {
  return badRequest(`unable to parse requirement: ${what} selector "${term}" is not understood`);
}

/** What the fields of a kind are; a selector on any other field is refused, as kube-apiserver does. */
export interface FieldNames {
  readonly has: (field: string) => boolean;
}

/** Field selector: `a=b`, `a==b`, `a!=b`, joined by commas; `\` escapes `,`, `=` and `\`. */
export function parseFieldSelector(selector: string, supported: FieldNames): Matcher {
  const tests = splitFieldTerms(selector).map((term): Matcher => {
    const match = /^([^=!]+?)\s*(==|!=|=)\s*(.*)$/.exec(term);
    const field = match?.[1]?.trim();
    if (match === null || field === undefined) throw unparsable('field', term);
    if (field !== 'metadata.name' && field !== 'metadata.namespace' && !supported.has(field)) {
      throw badRequest(`field label not supported: ${field}`);
    }
    const value = (match[3] ?? '').replaceAll(/\\([,=\\])/g, '$1');
    return match[2] === '!='
      ? (object) => fieldOf(object, field) !== value
      : (object) => fieldOf(object, field) === value;
  });
  return (object) => tests.every((test) => test(object));
}

function splitFieldTerms(selector: string): string[] {
  return (selector.match(/(?:\\.|[^,\\])+/g) ?? []).map((term) => term.trim()).filter((term) => term !== '');
}

function fieldOf(object: StoredObject, field: string): string {
  if (field === 'metadata.name') return object.name;
  if (field === 'metadata.namespace') return object.namespace;
  return object.fields[field] ?? '';
}

/** The name that a field selector pins by `metadata.name=x`, if that is all it says. */
export function pinnedName(selector: string): string | undefined {
  return /^metadata\.name==?([^,=!\\]+)$/.exec(selector)?.[1];
}

/** Both selectors of a request as one test; undefined where neither restricts anything. */
export function parseSelectors(
  label: string | null,
  field: string | null,
  supported: FieldNames,
): Matcher | undefined {
  const labelTest = label === null || label.trim() === '' ? undefined : parseLabelSelector(label);
  const fieldTest = field === null || field.trim() === '' ? undefined : parseFieldSelector(field, supported);
  if (labelTest === undefined) return fieldTest;
  if (fieldTest === undefined) return (object) => labelTest(object.labels);
  return (object) => labelTest(object.labels) && fieldTest(object);
}
