import { parseQuantity } from '../../quantity/quantity.ts';
import { type JsonObject, objectAt } from '../json/json.ts';
import type { Cause } from '../json/status-error.ts';
import { invalidValue } from './field-errors.ts';

/** Requests and limits of a container: quantities, not negative, requests within limits. */
export function validateResources(container: JsonObject, field: string): Cause[] {
  const causes: Cause[] = [];
  const limits = objectAt(container, 'resources', 'limits') ?? {};
  const requests = objectAt(container, 'resources', 'requests') ?? {};
  for (const [kind, list] of [
    ['limits', limits],
    ['requests', requests],
  ] as const) {
    for (const [name, value] of Object.entries(list)) {
      const at = `${field}.resources.${kind}[${name}]`;
      const quantity = parseQuantity(value);
      if (quantity === undefined)
        causes.push(
          invalidValue(
            at,
            value,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
          ),
        );
      else if (quantity < 0) causes.push(invalidValue(at, value, 'must be greater than or equal to 0'));
    }
  }
  for (const [name, value] of Object.entries(requests)) {
    const limit = parseQuantity(limits[name]);
    const request = parseQuantity(value);
    if (limit !== undefined && request !== undefined && request > limit) {
      causes.push(
        invalidValue(
          `${field}.resources.requests`,
          value,
          `must be less than or equal to ${name} limit of ${JSON.stringify(limits[name])}`,
        ),
      );
    }
  }
  return causes;
}
