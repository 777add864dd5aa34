import * as z from 'zod';
import { underlayMtu } from '../underlay-mtu.ts';

export interface HostGwSettings {
  readonly type: 'host-gw';
  readonly underlayMtu: number | undefined;
}

export const hostGwSchema = z
  .strictObject({ Type: z.literal('host-gw'), MTU: underlayMtu })
  .transform((raw): HostGwSettings => ({ type: 'host-gw', underlayMtu: raw.MTU }));
