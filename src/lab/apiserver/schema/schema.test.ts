import { expect, test } from 'vitest';
import { builtInSchema } from './built-in-schemas.ts';
import { decodeProtobuf } from './protobuf-decoder.ts';

test('the type table knows kinds, embedded structs and how lists merge', () => {
  const pod = builtInSchema('', 'v1', 'Pod');
  const spec = pod?.properties?.get('spec');
  expect(spec?.properties?.get('containers')?.patchMergeKey).toBe('name');
  const container = spec?.properties?.get('containers')?.items;
  expect(container?.properties?.get('ports')?.listKeys).toEqual(['containerPort', 'protocol']);
  expect(container?.properties?.get('ports')?.keyDefaults).toEqual({ protocol: 'TCP' });
  expect(container?.properties?.get('readinessProbe')?.properties?.get('httpGet')?.type).toBe('object');
  expect(spec?.properties?.get('volumes')?.items?.properties?.has('configMap')).toBe(true);
  expect(builtInSchema('', 'v1', 'Nothing')).toBeUndefined();
});

/** A length-delimited protobuf field. */
function field(number: number, content: Buffer | string): Buffer {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
}

/** What kubectl 1.33 sends for `kubectl create configmap a --from-literal=k=v`. */
function configMapBody(): Buffer {
  const typeMeta = Buffer.concat([field(1, 'v1'), field(2, 'ConfigMap')]);
  const metadata = Buffer.concat([field(1, 'a'), field(2, ''), field(8, '')]);
  const entry = Buffer.concat([field(1, 'k'), field(2, 'v')]);
  const object = Buffer.concat([field(1, metadata), field(2, entry)]);
  return Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, typeMeta),
    field(2, object),
    field(3, ''),
    field(4, ''),
  ]);
}

test('a protobuf body becomes the JSON that it stands for', () => {
  expect(decodeProtobuf(configMapBody())).toEqual({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'a' },
    data: { k: 'v' },
  });
});

test('a body that is cut short or of another kind is refused', () => {
  expect(() => decodeProtobuf(Buffer.from('nonsense'))).toThrow('not Kubernetes protobuf');
  expect(() => decodeProtobuf(configMapBody().subarray(0, 30))).toThrow('cut short');
});
