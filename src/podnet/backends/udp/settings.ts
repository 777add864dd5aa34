import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface UdpSettings {
  readonly type: 'udp';
  readonly port: number;
  readonly underlayMtu: number | undefined;
}

export const udpSchema = z
  .strictObject({
    Type: z.literal('udp'),
    Port: z.int().min(1).max(65_535).default(8285),
    MTU: underlayMtu,
  })
  .transform((raw): UdpSettings => ({ type: 'udp', port: raw.Port, underlayMtu: raw.MTU }));
