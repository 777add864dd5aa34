import { indexField } from '../../../kernel/nft/field.ts';
import { balancerField, balancerFor } from './balancer.ts';
import { numberOfCode, poolOf } from './service-code.ts';

/**
 * Where what an address leads to stands in `pools` and `endpoints`, for those who look at the kernel from outside:
 * `code` is what `service-ips` has for the address. Undefined for a code that is none.
 */
export function poolKeyOf(code: string | undefined): string | undefined {
  const number = numberOfCode(code);
  return number === undefined ? undefined : indexField(poolOf(number, false));
}

/** What `pools` has for a pool of so many endpoints. */
export function poolValueOf(endpoints: number, affinitySeconds = 0): string {
  return balancerField(balancerFor(endpoints, affinitySeconds));
}
