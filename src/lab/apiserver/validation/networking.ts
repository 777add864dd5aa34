import { Cidr } from '../../../net/cidr.ts';
import {
  isObject,
  type JsonObject,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
  numberAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { forbiddenField, invalidValue, notSupported, required } from './field-errors.ts';
import { dnsSubdomain } from './names.ts';
import { validatePortNumber, validatePortOrName } from './ports.ts';
import { validateLabelSelector } from './workload.ts';

const PATH_TYPES = ['Exact', 'ImplementationSpecific', 'Prefix'];
const POLICY_TYPES = ['Egress', 'Ingress'];
const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];

export function validateIngress(object: KubeObject): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes: Cause[] = [];
  const rules = objectsAt(spec, 'rules');
  if (rules.length === 0 && !isObject(spec['defaultBackend'])) {
    causes.push(invalidValue('spec', rules, 'either `defaultBackend` or `rules` must be specified'));
  }
  if (isObject(spec['defaultBackend']))
    causes.push(...validateBackend(spec['defaultBackend'], 'spec.defaultBackend'));
  for (const [i, rule] of rules.entries()) causes.push(...validateRule(rule, `spec.rules[${i}]`));
  const className = stringAt(spec, 'ingressClassName');
  const wrong = className === undefined ? undefined : dnsSubdomain(className);
  if (wrong !== undefined) causes.push(invalidValue('spec.ingressClassName', className, wrong));
  return causes;
}

function validateRule(rule: JsonObject, field: string): Cause[] {
  const causes: Cause[] = [];
  const host = stringAt(rule, 'host') ?? '';
  const wrong = host === '' ? undefined : dnsSubdomain(host.replace(/^\*\./, ''));
  if (wrong !== undefined) causes.push(invalidValue(`${field}.host`, host, wrong));
  const http = objectAt(rule, 'http');
  if (http === undefined) return causes;
  const paths = objectsAt(http, 'paths');
  if (paths.length === 0) causes.push(required(`${field}.http.paths`));
  for (const [i, path] of paths.entries()) {
    const at = `${field}.http.paths[${i}]`;
    const type = stringAt(path, 'pathType');
    if (type === undefined) causes.push(required(`${at}.pathType`, 'pathType must be specified'));
    else if (!PATH_TYPES.includes(type)) causes.push(notSupported(`${at}.pathType`, type, PATH_TYPES));
    const text = stringAt(path, 'path') ?? '';
    if (type !== 'ImplementationSpecific' && !text.startsWith('/'))
      causes.push(invalidValue(`${at}.path`, text, 'must be an absolute path'));
    const backend = objectAt(path, 'backend');
    if (backend === undefined) causes.push(required(`${at}.backend`));
    else causes.push(...validateBackend(backend, `${at}.backend`));
  }
  return causes;
}

function validateBackend(backend: JsonObject, field: string): Cause[] {
  const service = objectAt(backend, 'service');
  if (objectAt(backend, 'resource') !== undefined) {
    return service === undefined
      ? []
      : [invalidValue(field, '', 'cannot set both resource and service backends')];
  }
  if (service === undefined) return [required(field, 'must specify a service or a resource')];
  const causes: Cause[] = [];
  const name = stringAt(service, 'name') ?? '';
  if (name === '') causes.push(required(`${field}.service.name`));
  const portName = stringAt(service, 'port', 'name') ?? '';
  const portNumber = numberAt(service, 'port', 'number') ?? 0;
  if (portName !== '' && portNumber !== 0)
    causes.push(invalidValue(field, '', 'cannot set both port name & port number'));
  else if (portName !== '') causes.push(...validatePortOrName(portName, `${field}.service.port.name`));
  else if (portNumber !== 0) causes.push(...validatePortNumber(portNumber, `${field}.service.port.number`));
  else causes.push(required(field, 'port name or number is required'));
  return causes;
}

export function validateNetworkPolicy(object: KubeObject): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes = validateLabelSelector(objectAt(spec, 'podSelector'), 'spec.podSelector');
  for (const [i, type] of stringsAt(spec, 'policyTypes').entries()) {
    if (!POLICY_TYPES.includes(type)) causes.push(notSupported(`spec.policyTypes[${i}]`, type, POLICY_TYPES));
  }
  for (const [direction, peers] of [
    ['ingress', 'from'],
    ['egress', 'to'],
  ] as const) {
    for (const [r, rule] of objectsAt(spec, direction).entries()) {
      const field = `spec.${direction}[${r}]`;
      for (const [i, port] of objectsAt(rule, 'ports').entries())
        causes.push(...validatePolicyPort(port, `${field}.ports[${i}]`));
      for (const [i, peer] of objectsAt(rule, peers).entries())
        causes.push(...validatePeer(peer, `${field}.${peers}[${i}]`));
    }
  }
  return causes;
}

function validatePolicyPort(port: JsonObject, field: string): Cause[] {
  const causes: Cause[] = [];
  const protocol = stringAt(port, 'protocol') ?? 'TCP';
  if (!PROTOCOLS.includes(protocol)) causes.push(notSupported(`${field}.protocol`, protocol, PROTOCOLS));
  const from = port['port'];
  if (from !== undefined) causes.push(...validatePortOrName(from, `${field}.port`));
  const end = port['endPort'];
  if (end === undefined) return causes;
  if (typeof from !== 'number')
    causes.push(invalidValue(`${field}.endPort`, end, 'may not be specified when `port` is not a number'));
  else if (typeof end !== 'number' || end < from)
    causes.push(invalidValue(`${field}.endPort`, end, `must be greater than or equal to \`port\``));
  return causes;
}

function validatePeer(peer: JsonObject, field: string): Cause[] {
  const block = objectAt(peer, 'ipBlock');
  const pods = objectAt(peer, 'podSelector');
  const namespaces = objectAt(peer, 'namespaceSelector');
  if (block === undefined && pods === undefined && namespaces === undefined)
    return [required(field, 'must specify a peer')];
  if (block === undefined)
    return [
      ...validateLabelSelector(pods, `${field}.podSelector`),
      ...validateLabelSelector(namespaces, `${field}.namespaceSelector`),
    ];
  if (pods !== undefined || namespaces !== undefined)
    return [forbiddenField(field, 'may not specify both ipBlock and another peer')];
  return validateIpBlock(block, `${field}.ipBlock`);
}

function validateIpBlock(block: JsonObject, field: string): Cause[] {
  const text = stringAt(block, 'cidr') ?? '';
  if (text === '') return [required(`${field}.cidr`)];
  const cidr = Cidr.tryParse(text);
  if (cidr === undefined)
    return [
      invalidValue(`${field}.cidr`, text, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
    ];
  const causes: Cause[] = [];
  for (const [i, except] of stringsAt(block, 'except').entries()) {
    const inner = Cidr.tryParse(except);
    if (inner === undefined)
      causes.push(
        invalidValue(
          `${field}.except[${i}]`,
          except,
          'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
      );
    else if (!cidr.contains(inner) || cidr.equals(inner))
      causes.push(invalidValue(`${field}.except[${i}]`, except, 'must be a strict subset of `cidr`'));
  }
  return causes;
}
