import { parseDocument } from 'yaml';
import { FlatnetError } from '../../errors/flatnet-error.ts';

/** One error with a line for each thing that is wrong with a configuration. */
export function invalidConfig(name: string, problems: readonly string[], hint?: string): FlatnetError {
  return new FlatnetError(`${name}: ${problems.join('; ')}`, {
    code: 'INVALID_CONFIG',
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Levels of brackets; characters of indentation, and of the dashes of lists in lists. No configuration has so many. */
const MAX_BRACKETS = 64;
const MAX_INDENT = 256;

/**
 * The value that a YAML (or JSON) text of one document holds, as the YAML 1.1 that Kubernetes' own components read.
 * Throws INVALID_CONFIG with the name of the file and the line.
 */
export function readYaml(text: string, name: string): unknown {
  if (isTooDeep(text)) throw invalidConfig(name, ['is nested deeper than any configuration']);
  const document = parseDocument(text, { version: '1.1' });
  const syntax = document.errors[0];
  if (syntax !== undefined) {
    const several = syntax.code === 'MULTIPLE_DOCS';
    throw invalidConfig(name, [
      several ? 'holds several documents; put each into a file of its own' : firstLine(syntax.message),
    ]);
  }
  try {
    // An alias of nothing, or aliases that multiply without end, come to light only here.
    return document.toJS();
  } catch (error) {
    throw invalidConfig(name, [error instanceof Error ? error.message : String(error)]);
  }
}

const firstLine = (message: string): string => (message.split('\n')[0] ?? 'not YAML').replace(/:$/, '');

/**
 * The parser calls itself for each level, and where the stack ends within a regular expression V8 aborts the process
 * instead of throwing.
 */
function isTooDeep(text: string): boolean {
  let brackets = 0;
  let indent = 0;
  let started = false;
  for (const char of text) {
    if (char === '\n') {
      indent = 0;
      started = false;
    } else if (!started && ' -?:'.includes(char)) indent += 1;
    else started = true;
    if (char === '[' || char === '{') brackets += 1;
    else if (char === ']' || char === '}') brackets -= 1;
    if (brackets > MAX_BRACKETS || indent > MAX_INDENT) return true;
  }
  return false;
}
