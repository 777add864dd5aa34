/** What one proxy process in one mode was measured to do. */
export interface ProxyMeasurement {
  readonly mode: string;
  /** Where the kernel is not this machine's. */
  readonly machine?: 'user-mode-linux';
  readonly services: number;
  readonly endpoints: number;
  /** From the start of the process until the kernel held everything. */
  readonly firstSyncMs: number;
  /** CPU time of the process and its programs until then: on a busy machine it says more than the time that passed. */
  readonly firstSyncCpuMs: number;
  /** From an EndpointSlice event being sent until the kernel held what it asks for. */
  readonly changeMs: { readonly p50: number; readonly p99: number };
  /** CPU time of a change: the proxy's own, and that of the programs it started. */
  readonly cpuMsPerChange: number;
  readonly toolCpuMsPerChange: number;
  /** Resident memory of the proxy after first sync and changes, the larger of both, MiB. */
  readonly rssMb: number;
  /** Median time that setting up a connection takes, microseconds. */
  readonly connectUs: ConnectTimes;
}

export interface ConnectTimes {
  /** To a pod, before the proxy was started. */
  readonly bare: number;
  /** To a pod, past the proxy's rules. */
  readonly direct: number;
  readonly firstService: number;
  readonly lastService: number;
}

/** Two decimals are more than any of it is exact to. */
export function rounded(measurement: ProxyMeasurement): ProxyMeasurement {
  return JSON.parse(
    JSON.stringify(measurement, (_, value: unknown) =>
      typeof value === 'number' ? Math.round(value * 100) / 100 : value,
    ),
  ) as ProxyMeasurement;
}
