import { type Json, type JsonObject, objectAt } from '../json/json.ts';
import type { Cause } from '../json/status-error.ts';
import { invalidValue } from './field-errors.ts';

const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E)|[eE]([+-]?\d+))?$/;

const SUFFIXES: Readonly<Record<string, number>> = {
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
};

/** The value of a Quantity (`100m`, `1.5Gi`, `2e3`); undefined where it is none. */
function parseQuantity(value: Json | undefined): number | undefined {
  if (typeof value === 'number') return value;
  const match = typeof value === 'string' ? QUANTITY.exec(value) : null;
  if (match === null) return undefined;
  const [, digits, suffix, exponent] = match;
  return Number(digits) * (suffix === undefined ? 10 ** Number(exponent ?? 0) : (SUFFIXES[suffix] ?? 1));
}

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
