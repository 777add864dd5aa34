/**
 * Of what ping printed, the numbers below the last answered that have no answer. Later ones may only have been late:
 * ping waits for them for two round trips.
 */
export function unanswered(output: string): number[] {
  const answered = new Set([...output.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number)));
  const last = Math.max(0, ...answered);
  if (last < 100) throw new Error(`hardly any answer: ${output}`);
  return Array.from({ length: last }, (_, index) => index + 1).filter((number) => !answered.has(number));
}
