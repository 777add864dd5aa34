/**
 * Gives endpoints the numbers 0 to n-1 so that as few as possible change: those that stay keep theirs, new ones take
 * the numbers of those that went, and only if there are fewer than before do the last ones move down.
 */
export function assignNumbers(previous: readonly string[], wanted: readonly string[]): readonly string[] {
  if (previous.length === 0) return wanted;
  const waiting = new Set(wanted);
  const kept = previous
    .slice(0, wanted.length)
    .map((endpoint) => (waiting.delete(endpoint) ? endpoint : undefined));
  const rest = waiting.values();
  return wanted.map((_, number) => kept[number] ?? (rest.next().value as string));
}
