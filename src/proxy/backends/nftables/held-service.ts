import { poolField } from './balancer.ts';
import { isStickyCode, numberOfCode, poolOf } from './service-code.ts';

/**
 * Where the endpoints that an address leads to stand in `pools` and `endpoints`, for those who look at the kernel from
 * outside: `code` is what `service-ips` has for the address. Undefined for a code that is none.
 */
export function poolKeyOf(code: string | undefined): string | undefined {
  const number = numberOfCode(code);
  return code === undefined || number === undefined ? undefined : poolOf(number, false, isStickyCode(code));
}

/** What `pools` has for a pool of so many endpoints. */
export function poolValueOf(endpoints: number): string {
  return poolField(endpoints, 0);
}
