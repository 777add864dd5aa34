// Writes src/lab/apiserver/schema/kubernetes-types.json, the table of Kubernetes' own types, from a kubectl
// binary: kubectl carries the protobuf descriptors of every API group (field names, numbers, types) and,
// through kustomize, an OpenAPI document with the merge keys of lists. Run again to follow a new Kubernetes:
//   node scripts/read-kubernetes-types.mjs /path/to/kubectl
import { readFileSync, writeFileSync } from 'node:fs';
import { inflateRawSync } from 'node:zlib';
import { parse } from 'yaml';

const kubectl = process.argv[2];
if (kubectl === undefined) throw new Error('usage: read-kubernetes-types.mjs KUBECTL');
const binary = readFileSync(kubectl);

/** Types that are read from requests; what they refer to comes with them. */
const ROOTS = [
  ...[
    'Namespace',
    'Node',
    'Pod',
    'Service',
    'Endpoints',
    'ConfigMap',
    'Secret',
    'ServiceAccount',
    'Event',
    'Binding',
  ].map((k) => `core.v1.${k}`),
  ...['Deployment', 'ReplicaSet', 'DaemonSet'].map((k) => `apps.v1.${k}`),
  ...['Ingress', 'IngressClass', 'NetworkPolicy'].map((k) => `networking.v1.${k}`),
  'extensions.v1beta1.Ingress',
  'discovery.v1.EndpointSlice',
  'coordination.v1.Lease',
  'events.v1.Event',
  ...['Role', 'RoleBinding', 'ClusterRole', 'ClusterRoleBinding'].map((k) => `rbac.v1.${k}`),
  ...['TokenRequest', 'TokenReview', 'SelfSubjectReview'].map((k) => `authentication.v1.${k}`),
  ...[
    'SelfSubjectAccessReview',
    'SubjectAccessReview',
    'LocalSubjectAccessReview',
    'SelfSubjectRulesReview',
  ].map((k) => `authorization.v1.${k}`),
  'policy.v1.Eviction',
  'autoscaling.v1.Scale',
  'meta.v1.DeleteOptions',
];

/** Merge keys that are younger than the OpenAPI document in kubectl: type.field -> [list keys, patch merge key]. */
const YOUNGER = {
  'core.v1.PodStatus.hostIPs': [undefined, 'ip'],
  'core.v1.PodStatus.resourceClaimStatuses': [['name'], 'name'],
  'core.v1.PodSpec.schedulingGates': [['name'], 'name'],
  'core.v1.PodSpec.resourceClaims': [['name'], 'name'],
  'core.v1.ResourceRequirements.claims': [['name'], undefined],
  'core.v1.ContainerStatus.volumeMounts': [['mountPath'], 'mountPath'],
};

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const wire = tag & 7;
    if (wire === 0) yield [tag >>> 3, varint()];
    else if (wire === 2) {
      const size = varint();
      yield [tag >>> 3, bytes.subarray(at, (at += size))];
    } else at += wire === 1 ? 8 : 4;
  }
}
const all = (bytes, number) => [...fields(bytes)].filter(([n]) => n === number).map(([, value]) => value);
const one = (bytes, number) => all(bytes, number)[0];
const text = (bytes, number) => one(bytes, number)?.toString();

function* streams() {
  const magic = Buffer.from([0x1f, 0x8b, 0x08, 0x00]);
  for (let at = binary.indexOf(magic); at >= 0; at = binary.indexOf(magic, at + 4)) {
    try {
      yield inflateRawSync(binary.subarray(at + 10, at + 10 + 3_000_000));
    } catch {
      // Not a gzip stream, only the same four bytes.
    }
  }
}

const shortName = (name) =>
  name.replace(
    /^\.?k8s\.io\.(api|apimachinery\.pkg\.apis|apimachinery\.pkg\.api|apimachinery\.pkg\.util|apimachinery\.pkg)\./,
    '',
  );
const messages = new Map();
let document;
for (const bytes of streams()) {
  if (bytes[0] === 0x0a && bytes.subarray(2, 9).toString() === 'k8s.io/') {
    const prefix = text(bytes, 2);
    for (const message of all(bytes, 4)) {
      const nested = new Map(all(message, 3).map((n) => [`.${prefix}.${text(message, 1)}.${text(n, 1)}`, n]));
      messages.set(shortName(`${prefix}.${text(message, 1)}`), { message, nested });
    }
  } else if (bytes.includes('x-kubernetes-patch-merge-key') && bytes.length > 1_000_000) document = bytes;
}

/** Vendor extensions of a property: name -> value. */
function extensions(schema) {
  return Object.fromEntries(all(schema, 31).map((x) => [text(x, 1), parse(text(one(x, 2), 2) ?? '')]));
}
const annotations = new Map();
const optionalUnknown = new Map();
for (const named of all(one(document, 9), 1)) {
  const type = text(named, 1).replace(/^io\.k8s\.(api|apimachinery\.pkg\.apis|apimachinery\.pkg\.api)\./, '');
  const schema = one(named, 2);
  const properties = new Map();
  for (const property of all(one(schema, 25) ?? Buffer.alloc(0), 1))
    properties.set(text(property, 1), extensions(one(property, 2)));
  annotations.set(type, { properties, extensions: extensions(schema) });
  optionalUnknown.set(type, all(schema, 19).map(String));
}

const SCALARS = { 1: 'f', 2: 'f', 3: 'i', 4: 'i', 5: 'i', 8: 'b', 9: 's', 12: 'y', 13: 'i' };
const SPECIAL = {
  'resource.Quantity': 'Q',
  'intstr.IntOrString': 'I',
  'meta.v1.Time': 'T',
  'meta.v1.MicroTime': 'M',
  'runtime.RawExtension': 'J',
  'meta.v1.FieldsV1': 'J',
};
const wanted = new Set();

function typeOf(field) {
  const number = one(field, 5);
  if (number !== 11) return SCALARS[number];
  const name = shortName(text(field, 6));
  if (name.endsWith('.ExtraValue')) return '*s';
  if (SPECIAL[name]) return SPECIAL[name];
  wanted.add(name);
  return name;
}

function merge(type, name) {
  const known = annotations.get(type)?.properties.get(name) ?? {};
  const younger = YOUNGER[`${type}.${name}`];
  let patchKey = known['x-kubernetes-patch-merge-key'] ?? younger?.[1];
  const strategy = String(known['x-kubernetes-patch-strategy'] ?? (younger?.[1] ? 'merge' : ''));
  if (patchKey === undefined && strategy.includes('merge')) patchKey = '';
  const listType = known['x-kubernetes-list-type'];
  let keys = known['x-kubernetes-list-map-keys'] ?? younger?.[0];
  if (keys === undefined && listType === undefined && patchKey) keys = [patchKey];
  return {
    listType: listType ?? (keys ? 'map' : patchKey === '' ? 'set' : undefined),
    keys,
    patchKey,
    retain: strategy.includes('retainKeys'),
    mapType: known['x-kubernetes-map-type'],
  };
}

function fieldText(type, field, nested) {
  const name = text(field, 1);
  const id = one(field, 3);
  const info = merge(type, name);
  const patch = (info.patchKey === undefined ? '' : ` ~${info.patchKey}`) + (info.retain ? ' !' : '');
  const entry = nested.get(text(field, 6));
  const atomic = info.mapType === 'atomic' ? '!' : '';
  if (entry !== undefined)
    return `${name} ${id} {${atomic}}${typeOf(all(entry, 2).find((f) => one(f, 3) === 2))}${patch}`;
  const value = typeOf(field);
  if (one(field, 4) !== 3) {
    const known = annotations.get(type)?.properties;
    const embedded = name === 'handler' || name.toLowerCase() === value.split('.').at(-1).toLowerCase();
    const inline = value.length > 1 && embedded && known !== undefined && !known.has(name);
    return `${inline ? '~' : name} ${id} ${atomic}${value}${patch}`;
  }
  const keys =
    info.listType === 'map'
      ? `[${info.keys.map((k) => (k === 'protocol' ? 'protocol=TCP' : k)).join(',')}]`
      : info.listType === 'set'
        ? '+'
        : '*';
  return `${name} ${id} ${keys}${value}${patch}`;
}

const table = {};
for (const root of ROOTS) wanted.add(root);
for (const type of wanted) {
  const found = messages.get(type);
  if (found === undefined) throw new Error(`${type} is not in this kubectl`);
  const required = optionalUnknown.get(type) ?? [];
  table[type] = {
    fields: all(found.message, 2).map((field) => fieldText(type, field, found.nested)),
    ...(required.length > 0 ? { required } : {}),
    ...(annotations.get(type)?.extensions['x-kubernetes-map-type'] === 'atomic' ? { atomic: true } : {}),
  };
}
// LabelSelector, NodeSelector and the key selectors became atomic after the document in kubectl was made.
for (const type of Object.keys(table)) {
  if (
    /\.(LabelSelector|NodeSelector|NodeSelectorTerm|ObjectReference|LocalObjectReference|ConfigMapKeySelector|SecretKeySelector|ObjectFieldSelector|ResourceFieldSelector|TypedLocalObjectReference|OwnerReference|SecretReference|TopologySelectorTerm|EndpointAddress|EndpointPort|RoleRef|Subject|ServiceBackendPort)$/.test(
      type,
    )
  )
    table[type].atomic = true;
}
const ATOMIC_MAPS = {
  'core.v1.ServiceSpec': 'selector',
  'core.v1.PodSpec': 'nodeSelector',
  'core.v1.ReplicationControllerSpec': 'selector',
};
for (const [type, field] of Object.entries(ATOMIC_MAPS)) {
  if (table[type])
    table[type].fields = table[type].fields.map((line) =>
      line.startsWith(`${field} `) ? line.replace('{}', '{!}') : line,
    );
}
writeFileSync('src/lab/apiserver/schema/kubernetes-types.json', `${JSON.stringify(table, undefined, 1)}\n`);
console.log(`${Object.keys(table).length} types`);
