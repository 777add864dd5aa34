import { Ip } from '../../../net/ip.ts';
import {
  equalJson,
  isObject,
  type JsonObject,
  objectAt,
  objectsAt,
  stringAt,
  numberAt,
} from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import type { Cause } from '../json/status-error.ts';
import { containersOf } from '../kinds/pod-defaults.ts';
import { duplicate, forbiddenField, invalidValue, notSupported, required } from './field-errors.ts';
import { dnsLabel, dnsSubdomain } from './names.ts';
import { validatePortNumber, validatePortOrName, validateProtocol, validateUniqueNames } from './ports.ts';
import { validateResources } from './resources.ts';

const RESTART_POLICIES = ['Always', 'Never', 'OnFailure'];
const DNS_POLICIES = ['ClusterFirst', 'ClusterFirstWithHostNet', 'Default', 'None'];
const PULL_POLICIES = ['Always', 'IfNotPresent', 'Never'];
const ENV_NAME = /^[-._a-zA-Z][-._a-zA-Z0-9]*$/;

export function validatePod(object: KubeObject, old: KubeObject | undefined): Cause[] {
  const spec = objectAt(object, 'spec') ?? {};
  const causes = validatePodSpec(spec, 'spec');
  const before = objectAt(old, 'spec');
  if (before !== undefined) causes.push(...validateImmutable(spec, before));
  return causes;
}

export function validatePodSpec(spec: JsonObject, field: string): Cause[] {
  const causes: Cause[] = [];
  checkEnum(causes, spec, 'restartPolicy', RESTART_POLICIES, field);
  checkEnum(causes, spec, 'dnsPolicy', DNS_POLICIES, field);
  if (objectsAt(spec, 'containers').length === 0) causes.push(required(`${field}.containers`));
  const volumes = validateVolumes(spec, field, causes);
  const names = new Set<string>();
  for (const list of ['initContainers', 'containers', 'ephemeralContainers']) {
    for (const [i, container] of objectsAt(spec, list).entries()) {
      causes.push(...validateContainer(container, `${field}.${list}[${i}]`, names, volumes));
    }
  }
  checkName(causes, spec, 'nodeName', dnsSubdomain, field);
  checkName(causes, spec, 'serviceAccountName', dnsSubdomain, field);
  checkName(causes, spec, 'hostname', dnsLabel, field);
  checkName(causes, spec, 'subdomain', dnsLabel, field);
  const grace = numberAt(spec, 'terminationGracePeriodSeconds');
  if (grace !== undefined && grace < 0)
    causes.push(nonNegative(`${field}.terminationGracePeriodSeconds`, grace));
  for (const [i, alias] of objectsAt(spec, 'hostAliases').entries()) {
    const ip = stringAt(alias, 'ip') ?? '';
    if (Ip.tryParse(ip) === undefined)
      causes.push(
        invalidValue(
          `${field}.hostAliases[${i}].ip`,
          ip,
          'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)',
        ),
      );
  }
  if (spec['hostNetwork'] === true) causes.push(...validateHostPorts(spec, field));
  return causes;
}

function checkEnum(
  causes: Cause[],
  holder: JsonObject,
  member: string,
  supported: readonly string[],
  field: string,
): void {
  const value = holder[member];
  if (value === undefined || value === '') return;
  if (typeof value !== 'string' || !supported.includes(value))
    causes.push(notSupported(`${field}.${member}`, value, supported));
}

function checkName(
  causes: Cause[],
  spec: JsonObject,
  member: string,
  rule: typeof dnsLabel,
  field: string,
): void {
  const value = stringAt(spec, member);
  const wrong = value === undefined || value === '' ? undefined : rule(value);
  if (wrong !== undefined) causes.push(invalidValue(`${field}.${member}`, value, wrong));
}

function nonNegative(field: string, value: number): Cause {
  return invalidValue(field, value, 'must be greater than or equal to 0');
}

function validateVolumes(spec: JsonObject, field: string, causes: Cause[]): Set<string> {
  const names = new Set<string>();
  for (const [i, volume] of objectsAt(spec, 'volumes').entries()) {
    const at = `${field}.volumes[${i}]`;
    const name = stringAt(volume, 'name') ?? '';
    const wrong = dnsLabel(name);
    if (name === '') causes.push(required(`${at}.name`));
    else if (wrong !== undefined) causes.push(invalidValue(`${at}.name`, name, wrong));
    if (names.has(name)) causes.push(duplicate(`${at}.name`, name));
    names.add(name);
    if (Object.keys(volume).length > 2)
      causes.push(forbiddenField(at, 'may not specify more than 1 volume type'));
  }
  return names;
}

function validateContainer(
  container: JsonObject,
  field: string,
  names: Set<string>,
  volumes: Set<string>,
): Cause[] {
  const causes: Cause[] = [];
  const name = stringAt(container, 'name') ?? '';
  const wrong = dnsLabel(name);
  if (name === '') causes.push(required(`${field}.name`));
  else if (wrong !== undefined) causes.push(invalidValue(`${field}.name`, name, wrong));
  else if (names.has(name)) causes.push(duplicate(`${field}.name`, name));
  names.add(name);
  if ((stringAt(container, 'image') ?? '') === '') causes.push(required(`${field}.image`));
  checkEnum(causes, container, 'imagePullPolicy', PULL_POLICIES, field);
  causes.push(...validateContainerPorts(container, `${field}.ports`));
  for (const [i, variable] of objectsAt(container, 'env').entries()) {
    const key = stringAt(variable, 'name') ?? '';
    if (key === '') causes.push(required(`${field}.env[${i}].name`));
    else if (!ENV_NAME.test(key))
      causes.push(
        invalidValue(
          `${field}.env[${i}].name`,
          key,
          "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with a digit",
        ),
      );
    if (variable['valueFrom'] !== undefined && (stringAt(variable, 'value') ?? '') !== '') {
      causes.push(
        invalidValue(`${field}.env[${i}].valueFrom`, '', 'may not be specified when `value` is not empty'),
      );
    }
  }
  for (const [i, mount] of objectsAt(container, 'volumeMounts').entries()) {
    const volume = stringAt(mount, 'name') ?? '';
    if (!volumes.has(volume))
      causes.push({
        reason: 'FieldValueInvalid',
        message: `Not found: ${JSON.stringify(volume)}`,
        field: `${field}.volumeMounts[${i}].name`,
      });
    if ((stringAt(mount, 'mountPath') ?? '') === '')
      causes.push(required(`${field}.volumeMounts[${i}].mountPath`));
  }
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe']) {
    const value = container[probe];
    if (isObject(value))
      causes.push(...validateProbe(value, `${field}.${probe}`, probe !== 'readinessProbe'));
  }
  causes.push(...validateResources(container, field));
  return causes;
}

function validateContainerPorts(container: JsonObject, field: string): Cause[] {
  const ports = objectsAt(container, 'ports');
  const causes = validateUniqueNames(ports, field);
  for (const [i, port] of ports.entries()) {
    causes.push(...validatePortNumber(port['containerPort'], `${field}[${i}].containerPort`));
    if (port['hostPort'] !== 0)
      causes.push(...validatePortNumber(port['hostPort'], `${field}[${i}].hostPort`, false));
    causes.push(...validateProtocol(port, `${field}[${i}]`));
    const name = stringAt(port, 'name') ?? '';
    if (name !== '') causes.push(...validatePortOrName(name, `${field}[${i}].name`));
  }
  return causes;
}

function validateHostPorts(spec: JsonObject, field: string): Cause[] {
  const causes: Cause[] = [];
  for (const [c, container] of containersOf(spec).entries()) {
    for (const [i, port] of objectsAt(container, 'ports').entries()) {
      if (port['hostPort'] !== port['containerPort']) {
        causes.push(
          invalidValue(
            `${field}.containers[${c}].ports[${i}].containerPort`,
            port['containerPort'],
            'must match `hostPort` when `hostNetwork` is true',
          ),
        );
      }
    }
  }
  return causes;
}

function validateProbe(probe: JsonObject, field: string, onceOnly: boolean): Cause[] {
  const causes: Cause[] = [];
  const actions = ['exec', 'httpGet', 'tcpSocket', 'grpc'].filter((one) => isObject(probe[one]));
  if (actions.length === 0) causes.push(required(field, 'must specify a handler type'));
  if (actions.length > 1)
    causes.push(forbiddenField(`${field}.${actions[1] ?? ''}`, 'may not specify more than 1 handler type'));
  for (const action of ['httpGet', 'tcpSocket']) {
    const target = objectAt(probe, action);
    if (target !== undefined) causes.push(...validatePortOrName(target['port'], `${field}.${action}.port`));
  }
  for (const member of [
    'initialDelaySeconds',
    'timeoutSeconds',
    'periodSeconds',
    'successThreshold',
    'failureThreshold',
  ]) {
    const value = numberAt(probe, member);
    if (value !== undefined && value < 0) causes.push(nonNegative(`${field}.${member}`, value));
  }
  if (onceOnly && numberAt(probe, 'successThreshold') !== 1)
    causes.push(invalidValue(`${field}.successThreshold`, probe['successThreshold'], 'must be 1'));
  return causes;
}

/** What of a pod may change: images, the deadline, more tolerations, readiness of scheduling, ephemeral containers. */
function validateImmutable(spec: JsonObject, unbound: JsonObject): Cause[] {
  // A binding sets the node, once.
  const isBinding = unbound['nodeName'] === undefined && spec['nodeName'] !== undefined;
  const before = isBinding ? { ...unbound, nodeName: spec['nodeName'] } : unbound;
  if (equalJson(frozenPart(spec), frozenPart(before))) return [];
  const changed = Object.keys({ ...spec, ...before }).filter(
    (member) => !equalJson(frozenPart(spec)[member], frozenPart(before)[member]),
  );
  return [
    forbiddenField(
      'spec',
      `pod updates may not change fields other than \`spec.containers[*].image\`,\`spec.initContainers[*].image\`,\`spec.activeDeadlineSeconds\`,\`spec.tolerations\` (only additions to existing tolerations),\`spec.terminationGracePeriodSeconds\` (allow it to be set to 1 if it was previously negative); changed: ${changed.join(', ')}`,
    ),
  ];
}

function frozenPart(spec: JsonObject): JsonObject {
  const {
    activeDeadlineSeconds: _a,
    tolerations: _t,
    ephemeralContainers: _e,
    schedulingGates: _g,
    ...rest
  } = spec;
  return {
    ...rest,
    containers: objectsAt(spec, 'containers').map(withoutImage),
    initContainers: objectsAt(spec, 'initContainers').map(withoutImage),
  };
}

function withoutImage(container: JsonObject): JsonObject {
  return { ...container, image: '' };
}
