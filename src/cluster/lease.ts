import type { Lease } from 'kubernetes-types/coordination/v1.js';
import type { OwnerReference } from 'kubernetes-types/meta/v1.js';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Backoff, sleep } from '../timing/backoff.ts';
import type { ApiClient } from './api-client.ts';
import { hasStatus } from './api-error.ts';
import { LEASES } from './resource-type.ts';

export interface LeaseOptions {
  readonly namespace: string;
  readonly name: string;
  readonly holder: string;
  /** Default 40, as a kubelet's. */
  readonly durationSeconds?: number;
  /** Default a quarter of the duration. */
  readonly renewIntervalMs?: number;
  readonly ownerReferences?: OwnerReference[];
  readonly logger?: Logger | undefined;
}

/** Keeps a Lease renewed until the signal is aborted, as a kubelet does in `kube-node-lease`; never rejects. */
export async function keepLease(
  client: ApiClient,
  options: LeaseOptions,
  signal: AbortSignal,
): Promise<void> {
  const durationSeconds = options.durationSeconds ?? 40;
  const intervalMs = options.renewIntervalMs ?? (durationSeconds * 1000) / 4;
  const backoff = new Backoff({ initialMs: 200, maxMs: intervalMs });
  while (!signal.aborted) {
    try {
      await renew(client, options, durationSeconds, signal);
      backoff.reset();
      await sleep(intervalMs, signal);
    } catch (error) {
      if (isAborted(signal)) return;
      options.logger?.warn({ lease: options.name, error: describeError(error) }, 'cannot renew the lease');
      await sleep(backoff.next(), signal);
    }
  }
}

async function renew(
  client: ApiClient,
  options: LeaseOptions,
  durationSeconds: number,
  signal: AbortSignal,
): Promise<void> {
  const spec = {
    holderIdentity: options.holder,
    leaseDurationSeconds: durationSeconds,
    renewTime: microTime(new Date()),
  };
  try {
    await client.patch(LEASES, options, { type: 'merge', body: { spec } }, { signal });
  } catch (error) {
    if (!hasStatus(error, 404)) throw error;
    const { namespace, name, ownerReferences } = options;
    const lease: Lease = {
      metadata: { namespace, name, ...(ownerReferences === undefined ? {} : { ownerReferences }) },
      spec,
    };
    await client.create(LEASES, lease, { signal });
  }
}

function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

/** MicroTime of the API: six digits of fraction, always. */
function microTime(date: Date): string {
  return date.toISOString().replace('Z', '000Z');
}
