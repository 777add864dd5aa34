/** Two pods on two nodes, and the way between them. */
export interface MeasuredPath {
  /** Names of the pods' network namespaces. */
  readonly client: string;
  readonly server: string;
  readonly serverIp: string;
  readonly close: () => void;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
