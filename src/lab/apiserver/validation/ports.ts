import { type Json, type JsonObject, numberAt, stringAt } from '../json/json.ts';
import type { Cause } from '../json/status-error.ts';
import { duplicate, invalidValue, notSupported, required } from './field-errors.ts';
import { portName } from './names.ts';

const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];

/** A port number field: 1 to 65535. */
export function validatePortNumber(value: Json | undefined, field: string, isRequired = true): Cause[] {
  if (value === undefined || value === null) return isRequired ? [required(field)] : [];
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return [];
  return [invalidValue(field, value, 'must be between 1 and 65535, inclusive')];
}

/** A port that may also be the name of a container's port. */
export function validatePortOrName(value: Json | undefined, field: string): Cause[] {
  if (typeof value !== 'string') return validatePortNumber(value, field);
  const wrong = portName(value);
  return wrong === undefined ? [] : [invalidValue(field, value, wrong)];
}

export function validateProtocol(port: JsonObject, field: string): Cause[] {
  const protocol = stringAt(port, 'protocol');
  if (protocol === undefined) return [required(`${field}.protocol`)];
  return PROTOCOLS.includes(protocol) ? [] : [notSupported(`${field}.protocol`, protocol, PROTOCOLS)];
}

/** Names of ports in one list are unique. */
export function validateUniqueNames(ports: readonly JsonObject[], field: string): Cause[] {
  const seen = new Set<string>();
  const causes: Cause[] = [];
  for (const [i, port] of ports.entries()) {
    const name = stringAt(port, 'name');
    if (name === undefined || name === '') continue;
    if (seen.has(name)) causes.push(duplicate(`${field}[${i}].name`, name));
    seen.add(name);
  }
  return causes;
}

export function portOf(port: JsonObject): number {
  return numberAt(port, 'port') ?? 0;
}
