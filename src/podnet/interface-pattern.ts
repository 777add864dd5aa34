import { FlatnetError } from '../errors/flatnet-error.ts';

/** Interfaces have at most 15 characters and addresses 39: longer patterns are mistakes. */
const LONGEST = 256;

/**
 * A regular expression for names and addresses of interfaces, unanchored as in flannel and Calico; `(?i)` at its
 * beginning is understood as Go does. Throws INVALID_PATTERN.
 */
export function interfacePattern(text: string): RegExp {
  const insensitive = text.startsWith('(?i)');
  try {
    if (text === '') throw new SyntaxError('it is empty');
    if (text.length > LONGEST) throw new SyntaxError(`it has more than ${LONGEST} characters`);
    // Go's RE2 has neither, and both can take for ever.
    if (/\\[1-9]|\(\?<?[=!]/.test(text))
      throw new SyntaxError('backreferences and lookarounds are not known');
    return new RegExp(insensitive ? text.slice(4) : text, insensitive ? 'i' : '');
  } catch (cause) {
    throw new FlatnetError(
      `${JSON.stringify(text.slice(0, LONGEST))} is not a regular expression: ${(cause as Error).message}`,
      { code: 'INVALID_PATTERN', hint: 'write it like ^eth[0-9]+$', cause },
    );
  }
}
