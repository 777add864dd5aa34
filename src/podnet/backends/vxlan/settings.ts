import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface VxlanSettings {
  readonly type: 'vxlan';
  /** VXLAN network identifier; the device is `flannel.<vni>`. */
  readonly vni: number;
  /** UDP port; 8472 is the kernel's own default and flannel's (IANA's 4789 has to be asked for). */
  readonly port: number;
  /** Send unencapsulated to nodes of the same subnet. */
  readonly directRouting: boolean;
  readonly underlayMtu: number | undefined;
}

export const vxlanSchema = z
  .strictObject({
    Type: z.literal('vxlan'),
    VNI: z.int().min(1).max(0xff_ffff).default(1),
    Port: z.int().min(1).max(65_535).default(8472),
    DirectRouting: z.boolean().default(false),
    GBP: z.literal(false, 'group policy is not supported').optional(),
    Learning: z
      .literal(false, 'learning is not supported: every peer is programmed from its Node object')
      .optional(),
    MTU: underlayMtu,
  })
  .transform((raw): VxlanSettings => ({
    type: 'vxlan',
    vni: raw.VNI,
    port: raw.Port,
    directRouting: raw.DirectRouting,
    underlayMtu: raw.MTU,
  }));
