import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface AllocSettings {
  readonly type: 'alloc';
  readonly underlayMtu: number | undefined;
}

export const allocSchema = z
  .strictObject({ Type: z.literal('alloc'), MTU: underlayMtu })
  .transform((raw): AllocSettings => ({ type: 'alloc', underlayMtu: raw.MTU }));
