import { Cidr } from '../../../net/cidr.ts';
import { Ip } from '../../../net/ip.ts';
import {
  arrayAt,
  equalJson,
  type JsonObject,
  objectAt,
  objectsAt,
  stringAt,
  stringsAt,
  numberAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { isHeadless } from '../kinds/service-defaults.ts';
import { duplicate, invalidValue, notSupported, required } from './field-errors.ts';
import { validateLabels } from './metadata.ts';
import { dnsLabel, dnsSubdomain } from './names.ts';
import { portOf, validatePortNumber, validatePortOrName, validateProtocol } from './ports.ts';

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const AFFINITIES = ['ClientIP', 'None'];
const TRAFFIC_POLICIES = ['Cluster', 'Local'];
const FAMILY_POLICIES = ['SingleStack', 'PreferDualStack', 'RequireDualStack'];
/** One day. */
const MAX_AFFINITY_SECONDS = 86_400;

export function validateService(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes: Cause[] = [];
  checkEnum(causes, spec, 'type', TYPES);
  checkEnum(causes, spec, 'sessionAffinity', AFFINITIES);
  checkEnum(causes, spec, 'internalTrafficPolicy', TRAFFIC_POLICIES);
  checkEnum(causes, spec, 'externalTrafficPolicy', TRAFFIC_POLICIES);
  checkEnum(causes, spec, 'ipFamilyPolicy', FAMILY_POLICIES);
  causes.push(
    ...validateLabels(spec['selector'], 'spec.selector'),
    ...validatePorts(spec),
    ...validateAffinity(spec),
  );
  causes.push(...validateAddresses(spec), ...validateExternalName(spec));
  const before = objectAt(old, 'spec');
  if (before !== undefined) causes.push(...validateImmutable(spec, before));
  return causes;
}

function checkEnum(causes: Cause[], spec: JsonObject, member: string, supported: readonly string[]): void {
  const value = spec[member];
  if (value === undefined || value === null) return;
  if (typeof value !== 'string' || !supported.includes(value))
    causes.push(notSupported(`spec.${member}`, value, supported));
}

function validatePorts(spec: JsonObject): Cause[] {
  const ports = objectsAt(spec, 'ports');
  const causes: Cause[] = [];
  if (ports.length === 0 && !isHeadless(spec) && spec['type'] !== 'ExternalName')
    causes.push(required('spec.ports'));
  const names = new Set<string>();
  const numbers = new Set<string>();
  const nodePorts = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const field = `spec.ports[${i}]`;
    const name = stringAt(port, 'name') ?? '';
    if (name === '' && ports.length > 1) causes.push(required(`${field}.name`));
    const wrong = name === '' ? undefined : dnsLabel(name);
    if (wrong !== undefined) causes.push(invalidValue(`${field}.name`, name, wrong));
    if (name !== '' && names.has(name)) causes.push(duplicate(`${field}.name`, name));
    names.add(name);
    causes.push(...validatePortNumber(port['port'], `${field}.port`), ...validateProtocol(port, field));
    if (!isHeadless(spec)) causes.push(...validatePortOrName(port['targetPort'], `${field}.targetPort`));
    causes.push(...validatePortNumber(port['nodePort'], `${field}.nodePort`, false));
    const protocol = stringAt(port, 'protocol') ?? '';
    checkOnce(causes, numbers, `${protocol}/${portOf(port)}`, field, { protocol, port: portOf(port) });
    const nodePort = numberAt(port, 'nodePort');
    if (nodePort !== undefined) {
      if (spec['type'] === 'ClusterIP') causes.push(clusterIpNodePort(field));
      checkOnce(causes, nodePorts, `${protocol}/${nodePort}`, `${field}.nodePort`, { protocol, nodePort });
    }
  }
  return causes;
}

function clusterIpNodePort(field: string): Cause {
  return {
    reason: 'FieldValueForbidden',
    message: "Forbidden: may not be used when `type` is 'ClusterIP'",
    field: `${field}.nodePort`,
  };
}

function checkOnce(causes: Cause[], seen: Set<string>, key: string, field: string, value: JsonObject): void {
  if (seen.has(key)) causes.push(duplicate(field, value));
  seen.add(key);
}

function validateAffinity(spec: JsonObject): Cause[] {
  if (spec['sessionAffinity'] !== 'ClientIP') return [];
  const seconds = numberAt(spec, 'sessionAffinityConfig', 'clientIP', 'timeoutSeconds');
  if (seconds !== undefined && seconds > 0 && seconds <= MAX_AFFINITY_SECONDS) return [];
  return [
    invalidValue(
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
      seconds,
      `must be greater than 0 and less than ${MAX_AFFINITY_SECONDS}`,
    ),
  ];
}

function validateAddresses(spec: JsonObject): Cause[] {
  const causes: Cause[] = [];
  const clusterIp = stringAt(spec, 'clusterIP') ?? '';
  const all = arrayAt(spec, 'clusterIPs');
  if (clusterIp !== '' && all.length > 0 && all[0] !== clusterIp) {
    causes.push(invalidValue('spec.clusterIPs', all, 'first value must match `clusterIP`'));
  }
  for (const [i, ip] of all.entries()) {
    if (ip === 'None' && i === 0) continue;
    if (typeof ip !== 'string' || Ip.tryParse(ip) === undefined) {
      causes.push(
        invalidValue(
          `spec.clusterIPs[${i}]`,
          ip,
          'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
      );
    }
  }
  for (const [i, ip] of stringsAt(spec, 'externalIPs').entries()) {
    const parsed = Ip.tryParse(ip);
    const field = `spec.externalIPs[${i}]`;
    if (parsed === undefined) {
      causes.push(invalidValue(field, ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'));
    } else if (/^(127\.|0\.0\.0\.0$|169\.254\.|::1$|::$|fe80:)/.test(parsed.toString())) {
      causes.push(invalidValue(field, ip, 'may not be unspecified, in the loopback range or link-local'));
    }
  }
  for (const [i, range] of stringsAt(spec, 'loadBalancerSourceRanges').entries()) {
    if (Cidr.tryParse(range.trim()) === undefined) {
      causes.push(
        invalidValue(
          `spec.loadBalancerSourceRanges[${i}]`,
          range,
          'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        ),
      );
    }
  }
  return causes;
}

function validateExternalName(spec: JsonObject): Cause[] {
  if (spec['type'] !== 'ExternalName') {
    return isHeadless(spec) && spec['type'] !== 'ClusterIP'
      ? [
          invalidValue(
            'spec.clusterIPs[0]',
            'None',
            `may not be set to 'None' for ${stringAt(spec, 'type') ?? ''} services`,
          ),
        ]
      : [];
  }
  const name = (stringAt(spec, 'externalName') ?? '').replace(/\.$/, '');
  if (name === '') return [required('spec.externalName')];
  const wrong = dnsSubdomain(name);
  return wrong === undefined ? [] : [invalidValue('spec.externalName', name, wrong)];
}

/** The primary address stays as long as the Service has one. */
function validateImmutable(spec: JsonObject, before: JsonObject): Cause[] {
  const wasExternal = before['type'] === 'ExternalName' || spec['type'] === 'ExternalName';
  const old = stringAt(before, 'clusterIP') ?? '';
  if (wasExternal || old === '' || equalJson(spec['clusterIP'], before['clusterIP'])) return [];
  return [invalidValue('spec.clusterIPs[0]', arrayAt(spec, 'clusterIPs'), 'may not change once set')];
}
