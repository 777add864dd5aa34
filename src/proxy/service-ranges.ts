import type { ServiceCIDR } from 'kubernetes-types/networking/v1alpha1.js';
import type { ApiClient } from '../cluster/api-client.ts';
import { hasStatus } from '../cluster/api-error.ts';
import { Informer } from '../cluster/informer.ts';
import { SERVICE_CIDRS } from '../cluster/resource-type.ts';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import { Cidr } from '../net/cidr.ts';
import { Backoff, sleep } from '../timing/backoff.ts';

export interface ServiceRangesOptions {
  readonly client: ApiClient;
  readonly logger: Logger;
  /** All ranges of the cluster, in a settled order; called once first, also when there are none. */
  readonly changed: (ranges: readonly Cidr[]) => void;
}

/**
 * Follows ServiceCIDR objects (networking.k8s.io/v1, Kubernetes 1.33) until the signal is aborted; never rejects. A
 * cluster that has none, or does not let them be read, has no ranges.
 */
export async function followServiceRanges(options: ServiceRangesOptions, signal: AbortSignal): Promise<void> {
  const { client, logger, changed } = options;
  if (!(await areThere(options, signal))) {
    changed([]);
    return;
  }
  const informer = new Informer(client, SERVICE_CIDRS, {
    logger,
    project: ({ spec }: ServiceCIDR) => (spec?.cidrs ?? []).flatMap((text) => Cidr.tryParse(text) ?? []),
  });
  let known: string | undefined;
  const tell = (): void => {
    const ranges = [...informer.values()].flat().sort((a, b) => (String(a) < String(b) ? -1 : 1));
    if (!informer.hasSynced || String(ranges) === known) return;
    known = String(ranges);
    changed(ranges);
  };
  const end = informer.subscribe({ added: tell, updated: tell, deleted: tell });
  const first = informer.synced(signal).then(tell, () => undefined);
  await Promise.all([informer.run(signal), first]);
  end();
}

/** Asked first: an informer would try for ever, with a warning each time. */
async function areThere({ client, logger }: ServiceRangesOptions, signal: AbortSignal): Promise<boolean> {
  const backoff = new Backoff({ initialMs: 200 });
  while (!signal.aborted) {
    try {
      await client.list(SERVICE_CIDRS, { signal });
      return true;
    } catch (error) {
      if (hasStatus(error, 404)) return false;
      if (hasStatus(error, 403)) {
        const text = describeError(error);
        logger.warn(
          { error: text },
          'ServiceCIDR objects cannot be read: unallocated service addresses are not dropped',
        );
        return false;
      }
      await sleep(backoff.next(), signal);
    }
  }
  return false;
}
