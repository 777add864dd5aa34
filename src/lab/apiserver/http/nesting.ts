import { Lexer } from 'yaml';
import type { Json } from '../json/json.ts';
import { badRequest, type StatusError } from '../json/status-error.ts';

/**
 * How deep objects and arrays of a body may lie in each other. Code that walks objects is recursive; V8 ends the
 * whole process, past any catch, where it has to compile a regular expression at the end of the stack.
 */
const MAX_NESTING = 256;

function tooDeep(): StatusError {
  return badRequest(`the body of the request is nested too deeply: the limit is ${MAX_NESTING} levels`);
}

/** Throws 400 where a value is nested deeper than any object of Kubernetes is. Does not recurse itself. */
export function checkNesting(value: Json): void {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MAX_NESTING) throw tooDeep();
    const next: Json[] = [];
    for (const one of level) {
      if (typeof one !== 'object' || one === null) continue;
      for (const child of Object.values(one)) {
        if (typeof child === 'object' && child !== null) next.push(child);
      }
    }
    level = next;
  }
}

/** As checkNesting for YAML text before it is parsed, as its parser is recursive. */
export function checkYamlNesting(text: string): void {
  checkBlocks(text);
  // The lexer is iterative, but for compact indicators, which are counted by now.
  let flow = 0;
  for (const token of new Lexer().lex(text)) {
    if (token === '[' || token === '{') flow += 1;
    else if (token === ']' || token === '}') flow -= 1;
    if (flow > MAX_NESTING) throw tooDeep();
  }
}

/** Lines that are indented ever deeper, and `- - - x`, which nests within a line. */
function checkBlocks(text: string): void {
  const indents: number[] = [];
  for (const line of text.split('\n')) {
    const content = line.search(/[^ ]/);
    if (content === -1) continue;
    while ((indents.at(-1) ?? -1) >= content) indents.pop();
    indents.push(content);
    if (indents.length + compactIndicators(line, content) > MAX_NESTING) throw tooDeep();
  }
}

function compactIndicators(line: string, start: number): number {
  let count = 0;
  for (let i = start; i < line.length; i += 1) {
    const char = line.charAt(i);
    if (isBlank(char)) continue;
    if (!'-?:'.includes(char) || !isBlank(line.charAt(i + 1))) break;
    count += 1;
  }
  return count;
}

/** White space within a line, or the line's end. */
function isBlank(char: string): boolean {
  return char === '' || char === ' ' || char === '\t' || char === '\r';
}
