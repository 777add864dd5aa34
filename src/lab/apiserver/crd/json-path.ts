import { type Json, isObject } from '../json/json.ts';

// The JSONPath of additionalPrinterColumns: members, indexes, wildcards and comparisons in filters.

type Step = (values: readonly Json[]) => Json[];

const TOKEN =
  /\.((?:\\.|[^.[\]\\])+)|\[(\d+|\*)\]|\['((?:[^'\\]|\\.)*)'\]|\[\?\(@\.((?:\\.|[^=!<>\\ ])+)\s*(==|!=)\s*(?:"([^"]*)"|'([^']*)'|([^)]*))\)\]/y;

/** Compiles `.status.conditions[?(@.type=="Ready")].status`; undefined where the path is not understood. */
export function compileJsonPath(path: string): ((root: Json) => Json[]) | undefined {
  const steps: Step[] = [];
  const text = path.replace(/^\{(.*)\}$/, '$1').replace(/^\$/, '');
  for (let at = 0; at < text.length;) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    if (match === null) return undefined;
    at = TOKEN.lastIndex;
    steps.push(stepOf(match));
  }
  return (root) => steps.reduce<Json[]>((values, step) => step(values), [root]);
}

function stepOf(match: RegExpExecArray): Step {
  const [, member, index, quoted, filterPath, operator, double, single, bare] = match;
  if (index === '*' || member === '*') return (values) => values.flatMap(childrenOf);
  if (index !== undefined) {
    return (values) => values.flatMap((value) => (Array.isArray(value) ? wrap(value[Number(index)]) : []));
  }
  if (filterPath !== undefined) {
    const wanted = double ?? single ?? bare?.trim() ?? '';
    const read = compileJsonPath(`.${filterPath}`);
    return (values) =>
      values.flatMap(childrenOf).filter((value) => {
        const found = read?.(value)[0];
        return (found !== undefined && textOf(found) === wanted) === (operator === '==');
      });
  }
  const name = (quoted ?? member ?? '').replaceAll(/\\(.)/g, '$1');
  return (values) => values.flatMap((value) => (isObject(value) ? wrap(value[name]) : []));
}

/** flatMap would take a list apart. */
function wrap(value: Json | undefined): Json[] {
  return value === undefined || value === null ? [] : [value];
}

function childrenOf(value: Json): Json[] {
  if (Array.isArray(value)) return value;
  return isObject(value) ? Object.values(value).flatMap(wrap) : [];
}

export function textOf(value: Json): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}
