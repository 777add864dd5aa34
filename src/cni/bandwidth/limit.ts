import type { TokenBucket } from '../../kernel/netlink/tc-codec.ts';
import { CNI_CODE, CniError } from '../protocol/cni-error.ts';

/** What may wait in a queue, beside a burst: as long as Debian's bandwidth plugin lets it. */
const LATENCY_SECONDS = 0.025;
/** kubelet and containerd pass 2^31 - 1 and 2^32 - 1 bits where nobody has said anything of a burst. */
const UNSAID_BURST_BITS = 2 ** 31 - 1;
/** The kernel's timer and batches of packets cost nothing as long as this much may go at once. */
const DEFAULT_BURST_SECONDS = 0.02;
/** The largest packet that TCP hands to a device (GSO_LEGACY_MAX_SIZE). */
const LARGEST_SEGMENT = 65_536;
/** Ethernet header, two VLAN tags. */
const FRAME_OVERHEAD = 22;
const MAX_BYTES = 2 ** 32 - 1;

/**
 * The bucket for a rate in bit/s and a burst in bits, on a device with this MTU; undefined: no limit. A burst that
 * nobody has asked for is 20 ms' worth, so that the rate holds from the start. Throws CniError 7, which names the field.
 */
export function limitOf(
  direction: 'ingress' | 'egress',
  rate: number,
  burst: number,
  mtu: number,
): TokenBucket | undefined {
  const isSaid = burst > 0 && burst < UNSAID_BURST_BITS;
  if (rate === 0) {
    if (!isSaid) return undefined;
    throw new CniError(
      CNI_CODE.invalidConfiguration,
      `runtimeConfig.bandwidth: ${direction}Burst ${burst} without ${direction}Rate`,
      `give ${direction}Rate in bit/s as well`,
    );
  }
  if (rate < 8) {
    throw new CniError(
      CNI_CODE.invalidConfiguration,
      `runtimeConfig.bandwidth: ${direction}Rate ${rate} is less than one byte a second`,
      'the rate is in bit/s',
    );
  }
  const bytesPerSecond = Math.floor(rate / 8);
  const wanted = isSaid
    ? Math.floor(burst / 8)
    : Math.max(Math.floor(bytesPerSecond * DEFAULT_BURST_SECONDS), LARGEST_SEGMENT);
  // A packet that is larger than the bucket would never get through.
  const burstBytes = Math.min(Math.max(wanted, mtu + FRAME_OVERHEAD), MAX_BYTES);
  const limitBytes = Math.min(Math.ceil(bytesPerSecond * LATENCY_SECONDS) + burstBytes, MAX_BYTES);
  return { bytesPerSecond, burstBytes, limitBytes };
}
