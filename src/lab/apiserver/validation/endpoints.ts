import { Ip } from '../../../net/ip.ts';
import { type JsonObject, objectsAt, stringAt, stringsAt } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { invalidValue, notSupported, required } from './field-errors.ts';
import { dnsLabel, dnsSubdomain } from './names.ts';
import { validatePortNumber, validateProtocol, validateUniqueNames } from './ports.ts';

const ADDRESS_TYPES = ['FQDN', 'IPv4', 'IPv6'];
/** discovery/v1: at most 1000 endpoints and 100 ports a slice, 100 addresses an endpoint. */
const MAX_ENDPOINTS = 1000;
const MAX_PORTS = 100;
const MAX_ADDRESSES = 100;

export function validateEndpointSlice(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const type = stringAt(object, 'addressType') ?? '';
  const causes: Cause[] = [];
  if (type === '') causes.push(required('addressType'));
  else if (!ADDRESS_TYPES.includes(type)) causes.push(notSupported('addressType', type, ADDRESS_TYPES));
  if (old !== undefined && old['addressType'] !== type)
    causes.push(invalidValue('addressType', type, 'field is immutable'));
  const endpoints = objectsAt(object, 'endpoints');
  const ports = objectsAt(object, 'ports');
  checkCount(causes, 'endpoints', endpoints.length, MAX_ENDPOINTS);
  checkCount(causes, 'ports', ports.length, MAX_PORTS);
  for (const [i, endpoint] of endpoints.entries())
    causes.push(...validateEndpoint(endpoint, type, `endpoints[${i}]`));
  causes.push(...validateUniqueNames(ports, 'ports'));
  for (const [i, port] of ports.entries()) {
    causes.push(
      ...validatePortNumber(port['port'], `ports[${i}].port`, false),
      ...validateProtocol(port, `ports[${i}]`),
    );
  }
  return causes;
}

function checkCount(causes: Cause[], field: string, count: number, max: number): void {
  if (count > max)
    causes.push({
      reason: 'FieldValueInvalid',
      message: `Too many: ${count}: must have at most ${max} items`,
      field,
    });
}

function validateEndpoint(endpoint: JsonObject, type: string, field: string): Cause[] {
  const addresses = stringsAt(endpoint, 'addresses');
  const causes: Cause[] = [];
  if (addresses.length === 0) causes.push(required(`${field}.addresses`, 'must contain at least 1 address'));
  checkCount(causes, `${field}.addresses`, addresses.length, MAX_ADDRESSES);
  for (const [i, address] of addresses.entries()) {
    const wrong = wrongAddress(address, type);
    if (wrong !== undefined) causes.push(invalidValue(`${field}.addresses[${i}]`, address, wrong));
  }
  const hostname = stringAt(endpoint, 'hostname');
  const wrong = hostname === undefined ? undefined : dnsLabel(hostname);
  if (wrong !== undefined) causes.push(invalidValue(`${field}.hostname`, hostname, wrong));
  return causes;
}

function wrongAddress(address: string, type: string): string | undefined {
  if (type === 'FQDN') return dnsSubdomain(address);
  const ip = Ip.tryParse(address);
  if (ip === undefined || `IPv${ip.family}` !== type) {
    return type === 'IPv6' ? 'must be a valid IPv6 address' : 'must be a valid IPv4 address';
  }
  const special = /^(127\.|0\.0\.0\.0$|169\.254\.|224\.0\.0\.|::1$|::$|fe80:|ff02:)/.test(ip.toString());
  return special ? 'may not be unspecified, loopback, link-local or link-local multicast' : undefined;
}

export function validateEndpoints(object: KubeObject): Cause[] {
  const causes: Cause[] = [];
  for (const [s, subset] of objectsAt(object, 'subsets').entries()) {
    for (const list of ['addresses', 'notReadyAddresses']) {
      for (const [i, address] of objectsAt(subset, list).entries()) {
        const ip = stringAt(address, 'ip') ?? '';
        if (Ip.tryParse(ip) === undefined)
          causes.push(
            invalidValue(
              `subsets[${s}].${list}[${i}].ip`,
              ip,
              'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
            ),
          );
      }
    }
    const ports = objectsAt(subset, 'ports');
    for (const [i, port] of ports.entries()) {
      const field = `subsets[${s}].ports[${i}]`;
      if (ports.length > 1 && (stringAt(port, 'name') ?? '') === '') causes.push(required(`${field}.name`));
      causes.push(...validatePortNumber(port['port'], `${field}.port`), ...validateProtocol(port, field));
    }
  }
  return causes;
}
