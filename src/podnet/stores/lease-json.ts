/** What backends publish has a handful of fields; a list of offers around them adds three. */
const MOST_LEVELS = 32;

/**
 * JSON that another node has written. JSON.parse takes any depth, but what walks the value afterwards (to compare it,
 * to show it in a message) would run out of stack, and every node's plan with it. Throws SyntaxError whose message says
 * what the text is instead.
 */
export function parseLeaseJson(text: string): unknown {
  const value = parse(text);
  let level = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (depth > MOST_LEVELS) throw new SyntaxError(`JSON of more than ${MOST_LEVELS} levels`);
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values(each) : []));
  }
  return value;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new SyntaxError('not JSON', { cause });
  }
}
