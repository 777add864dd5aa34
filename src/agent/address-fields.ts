import * as z from 'zod';
import { Cidr } from '../net/cidr.ts';
import { Ip } from '../net/ip.ts';

export const cidr = z.string().transform((text, context): Cidr => {
  const parsed = Cidr.tryParse(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: `"${text}" is not a network in CIDR notation` });
  return z.NEVER;
});

export const ip = z.string().transform((text, context): Ip => {
  const parsed = Ip.tryParse(text);
  if (parsed !== undefined) return parsed;
  context.addIssue({ code: 'custom', message: `"${text}" is not an IP address` });
  return z.NEVER;
});
