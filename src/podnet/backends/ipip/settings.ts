import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface IpipSettings {
  readonly type: 'ipip';
  /** Send unencapsulated to nodes of the same subnet. */
  readonly directRouting: boolean;
  readonly underlayMtu: number | undefined;
}

export const ipipSchema = z
  .strictObject({ Type: z.literal('ipip'), DirectRouting: z.boolean().default(false), MTU: underlayMtu })
  .transform((raw): IpipSettings => ({
    type: 'ipip',
    directRouting: raw.DirectRouting,
    underlayMtu: raw.MTU,
  }));
