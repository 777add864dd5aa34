import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface WireguardSettings {
  readonly type: 'wireguard';
  /** UDP port of the IPv4 device, and of the only one where one serves both families. */
  readonly listenPort: number;
  readonly listenPortV6: number;
  readonly underlayMtu: number | undefined;
}

const port = z.int().min(1).max(65_535);

export const wireguardSchema = z
  .strictObject({
    Type: z.literal('wireguard'),
    ListenPort: port.default(51_820),
    ListenPortV6: port.default(51_821),
    MTU: underlayMtu,
  })
  .transform((raw): WireguardSettings => ({
    type: 'wireguard',
    listenPort: raw.ListenPort,
    listenPortV6: raw.ListenPortV6,
    underlayMtu: raw.MTU,
  }));
