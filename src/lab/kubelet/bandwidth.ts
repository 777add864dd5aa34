import type { Pod } from 'kubernetes-types/core/v1.js';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { parseQuantity } from '../quantity/quantity.ts';

/** containerd's way of saying that nobody asked for a burst. */
const UNSAID_BURST = 2 ** 32 - 1;
/** kubernetes pkg/util/bandwidth: from 1k to 1P bit/s. */
const MIN_RATE = 1e3;
const MAX_RATE = 1e15;

/** The CNI capability that the annotations `kubernetes.io/{ingress,egress}-bandwidth` stand for. Throws CNI_BANDWIDTH. */
export function bandwidthOf(pod: Pod): { readonly bandwidth?: object } {
  const [ingressRate, egressRate] = [rate(pod, 'ingress'), rate(pod, 'egress')];
  if (ingressRate === undefined && egressRate === undefined) return {};
  return {
    bandwidth: {
      ...(ingressRate === undefined ? {} : { ingressRate, ingressBurst: UNSAID_BURST }),
      ...(egressRate === undefined ? {} : { egressRate, egressBurst: UNSAID_BURST }),
    },
  };
}

function rate(pod: Pod, direction: 'ingress' | 'egress'): number | undefined {
  const annotation = `kubernetes.io/${direction}-bandwidth`;
  const text = pod.metadata?.annotations?.[annotation];
  if (text === undefined) return undefined;
  const value = parseQuantity(text);
  if (value !== undefined && value >= MIN_RATE && value <= MAX_RATE) return Math.floor(value);
  throw new FlatnetError(
    `annotation ${annotation}: ${JSON.stringify(text)} is not a rate from 1k to 1P bit/s`,
    {
      code: 'CNI_BANDWIDTH',
      hint: 'write it like 10M',
    },
  );
}
