import * as z from 'zod';

/**
 * The field MTU of every backend: the underlay's in bytes, before the encapsulation is taken off (so in flannel).
 * Below 576 no IPv4 packet is sure to pass (RFC 791); 65535 is the largest IP packet. Detected when absent.
 */
export const underlayMtu = z.int().min(576).max(65_535).optional();
