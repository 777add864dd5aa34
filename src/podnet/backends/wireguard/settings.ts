import * as z from 'zod';
import { SecretKey } from '../../../kernel/wireguard/key.ts';
import { underlayMtu } from '../underlay-mtu.ts';

/**
 * `separate`: a device for each family, IPv4 pods over IPv4 and IPv6 pods over IPv6. The others: one device for both,
 * over IPv4, over IPv6, or over what is more likely to get through (`auto`).
 */
type WireguardMode = 'separate' | 'auto' | 'ipv4' | 'ipv6';

export interface WireguardSettings {
  readonly type: 'wireguard';
  /** UDP port of the IPv4 device, and of the only one where one serves both families. */
  readonly listenPort: number;
  readonly listenPortV6: number;
  /** Shared by all nodes, besides their own keys. */
  readonly presharedKey: SecretKey | undefined;
  /** Seconds; 0: never. For nodes behind NAT. */
  readonly keepalive: number;
  readonly mode: WireguardMode;
  readonly underlayMtu: number | undefined;
}

const port = z.int().min(1).max(65_535);

/** Empty: none, as flannel takes it. Neither the value nor a part of it gets into a message. */
const presharedKey = z.string().transform((text, context): SecretKey | undefined => {
  if (text === '') return undefined;
  try {
    return SecretKey.parse(text);
  } catch {
    context.addIssue({
      code: 'custom',
      message: 'is not 32 bytes in base64 (44 characters, the last of them "="); wg genpsk makes one',
    });
    return z.NEVER;
  }
});

export const wireguardSchema = z
  .strictObject({
    Type: z.literal('wireguard'),
    ListenPort: port.default(51_820),
    ListenPortV6: port.default(51_821),
    PSK: presharedKey.optional(),
    PersistentKeepaliveInterval: z.int().min(0).max(65_535).default(0),
    Mode: z.enum(['separate', 'auto', 'ipv4', 'ipv6']).default('separate'),
    MTU: underlayMtu,
  })
  .superRefine(({ Mode, ListenPort, ListenPortV6 }, context) => {
    if (Mode !== 'separate' || ListenPort !== ListenPortV6) return;
    context.addIssue({
      code: 'custom',
      path: ['ListenPortV6'],
      message: `is ${ListenPortV6} like ListenPort, but with Mode "separate" each device needs its own`,
    });
  })
  .transform((raw): WireguardSettings => ({
    type: 'wireguard',
    listenPort: raw.ListenPort,
    listenPortV6: raw.ListenPortV6,
    presharedKey: raw.PSK,
    keepalive: raw.PersistentKeepaliveInterval,
    mode: raw.Mode,
    underlayMtu: raw.MTU,
  }));
