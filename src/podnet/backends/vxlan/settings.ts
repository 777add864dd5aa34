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
  /** Group based policy extension: the group of a packet (its mark) travels with it. */
  readonly gbp: boolean;
  /** The device learns where MACs live, beside what is programmed; flannel has it for switches that join in. */
  readonly learning: boolean;
  /** A field of our own: whether the device may leave checksums to the network card; absent: as the kernel needs it. */
  readonly txChecksumOffload: boolean | undefined;
  readonly underlayMtu: number | undefined;
}

export const vxlanSchema = z
  .strictObject({
    Type: z.literal('vxlan'),
    VNI: z.int().min(1).max(0xff_ffff).default(1),
    Port: z.int().min(1).max(65_535).default(8472),
    DirectRouting: z.boolean().default(false),
    GBP: z.boolean().default(false),
    Learning: z.boolean().default(false),
    TxChecksumOffload: z.boolean().optional(),
    MTU: underlayMtu,
  })
  .transform((raw): VxlanSettings => ({
    type: 'vxlan',
    vni: raw.VNI,
    port: raw.Port,
    directRouting: raw.DirectRouting,
    gbp: raw.GBP,
    learning: raw.Learning,
    txChecksumOffload: raw.TxChecksumOffload,
    underlayMtu: raw.MTU,
  }));
