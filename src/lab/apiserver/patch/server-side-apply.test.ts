import { describe, expect, test } from 'vitest';
import type { Json, JsonObject } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { StatusError } from '../json/status-error.ts';
import { builtInSchema } from '../schema/built-in-schemas.ts';
import { readOwners, trackUpdate } from './managed-fields.ts';
import { type ApplyRequest, applyObject } from './server-side-apply.ts';

const SCHEMA = builtInSchema('apps', 'v1', 'Deployment');

function request(manager: string, force = false): ApplyRequest {
  return { manager, force, hasStatus: true, subresource: undefined, schema: SCHEMA };
}

function deployment(spec: Record<string, unknown>, labels: Record<string, string> = {}): KubeObject {
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: 'd', ...(Object.keys(labels).length > 0 ? { labels } : {}) },
    spec,
  } as unknown as KubeObject;
}

const container = (fields: Record<string, unknown>): Record<string, unknown> => ({
  template: { spec: { containers: [fields] } },
});

describe('server-side apply', () => {
  test('two managers own what they applied, and a field that one stops applying goes', () => {
    const first = applyObject(
      undefined,
      deployment({ replicas: 1, paused: true }, { a: '1' }),
      request('one'),
    );
    const second = applyObject(first, deployment({}, { b: '2' }), request('two'));
    expect(second.metadata['labels']).toEqual({ a: '1', b: '2' });
    const third = applyObject(second, deployment({ replicas: 1 }), request('one'));
    expect(third['spec']).toEqual({ replicas: 1 });
    expect(third.metadata['labels']).toEqual({ b: '2' });
  });

  test('another value for a field of somebody else is a conflict that names field and manager', () => {
    const live = applyObject(undefined, deployment({ replicas: 1 }), request('one'));
    const clash = (): KubeObject => applyObject(live, deployment({ replicas: 2 }), request('two'));
    expect(clash).toThrow(StatusError);
    expect(clash).toThrow('Apply failed with 1 conflict: conflict with "one" using apps/v1: .spec.replicas');
  });

  test('force takes the field over, and its old owner no longer has it', () => {
    const live = applyObject(undefined, deployment({ replicas: 1 }), request('one'));
    const forced = applyObject(live, deployment({ replicas: 2 }), request('two', true));
    expect(forced['spec']).toEqual({ replicas: 2 });
    expect(readOwners(forced).map((owner) => owner.manager)).toEqual(['two']);
  });

  test('the same value is shared, and stays until both let go', () => {
    let live = applyObject(undefined, deployment({ replicas: 1, paused: true }), request('one'));
    live = applyObject(live, deployment({ replicas: 1 }), request('two'));
    live = applyObject(live, deployment({ paused: true }), request('one'));
    expect(live['spec']).toEqual({ replicas: 1, paused: true });
    live = applyObject(live, deployment({}, { x: 'y' }), request('two'));
    expect(live['spec']).toEqual({ paused: true });
  });

  test('containers are found by name, their ports by number and protocol', () => {
    let live = applyObject(
      undefined,
      deployment(container({ name: 'a', image: 'x', ports: [{ containerPort: 80, protocol: 'TCP' }] })),
      request('one'),
    );
    live = applyObject(
      live,
      deployment(container({ name: 'a', ports: [{ containerPort: 80, name: 'web' }] })),
      request('two'),
    );
    expect(live['spec']).toEqual(
      container({ name: 'a', image: 'x', ports: [{ containerPort: 80, protocol: 'TCP', name: 'web' }] }),
    );
    live = applyObject(live, deployment({}, { k: 'v' }), request('two'));
    expect(live['spec']).toEqual(
      container({ name: 'a', image: 'x', ports: [{ containerPort: 80, protocol: 'TCP' }] }),
    );
    const steps = JSON.stringify(live.metadata['managedFields']);
    expect(steps).toContain(String.raw`k:{\"name\":\"a\"}`);
    expect(steps).toContain(String.raw`k:{\"containerPort\":80,\"protocol\":\"TCP\"}`);
  });

  test('an update by others takes over what it changed', () => {
    const live = applyObject(undefined, deployment({ replicas: 1, paused: true }), request('one'));
    const changed = structuredClone(live);
    changed['spec'] = { replicas: 5, paused: true };
    trackUpdate(changed, live, {
      manager: 'scaler',
      apiVersion: 'apps/v1',
      subresource: undefined,
      schema: SCHEMA,
    });
    const owners = readOwners(changed);
    expect(owners.map((owner) => [owner.manager, JSON.stringify(owner.fields.toFieldsV1())])).toEqual([
      ['one', '{"f:spec":{"f:paused":{}}}'],
      ['scaler', '{"f:spec":{"f:replicas":{}}}'],
    ]);
    expect(() => applyObject(changed, deployment({ replicas: 2 }), request('one'))).toThrow(
      'conflict with "scaler"',
    );
  });

  test('a client may hand fields over by writing managedFields; what it leaves out or garbles stays', () => {
    const live = applyObject(undefined, deployment({ replicas: 1 }), request('one'));
    const facts = { manager: 'k', apiVersion: 'apps/v1', subresource: undefined, schema: SCHEMA };
    const managersAfter = (managedFields: Json | undefined, subresource?: string): string[] => {
      const next = structuredClone(live);
      if (managedFields === undefined) delete next.metadata['managedFields'];
      else next.metadata['managedFields'] = managedFields;
      trackUpdate(next, live, { ...facts, subresource });
      return readOwners(next).map((owner) => owner.manager);
    };
    const [entry] = live.metadata['managedFields'] as [JsonObject];
    const renamed = [{ ...entry, manager: 'two' }];
    expect(managersAfter(renamed)).toEqual(['two']);
    expect(managersAfter(renamed, 'status')).toEqual(['one']);
    expect(managersAfter(undefined)).toEqual(['one']);
    expect(managersAfter([{ manager: 'three', fieldsV1: 7 }])).toEqual(['one']);
    expect(managersAfter([{}])).toEqual([]);
  });

  test('what was never applied belongs to before-first-apply', () => {
    const live = deployment({ replicas: 3 });
    expect(() => applyObject(live, deployment({ replicas: 2 }), request('one'))).toThrow(
      '"before-first-apply"',
    );
    expect(applyObject(live, deployment({ replicas: 3 }), request('one'))['spec']).toEqual({ replicas: 3 });
  });
});
