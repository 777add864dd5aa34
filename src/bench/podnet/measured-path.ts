/** Two pods on two nodes, and the way between them. */
export interface MeasuredPath {
  /** Names of the pods' network namespaces. */
  readonly client: string;
  readonly server: string;
  readonly serverIp: string;
  readonly close: () => void;
}
