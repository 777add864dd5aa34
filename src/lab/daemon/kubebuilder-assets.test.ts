import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findAssets } from './kubebuilder-assets.ts';

const folder = mkdtempSync(join(tmpdir(), 'flatnet-assets-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('says which file a real control plane lacks', () => {
  expect(() => findAssets(undefined)).toThrow('KUBEBUILDER_ASSETS is not set');
  expect(() => findAssets(folder)).toThrow(`there is no program ${folder}/etcd`);
  writeFileSync(join(folder, 'etcd'), '', { mode: 0o755 });
  writeFileSync(join(folder, 'kube-apiserver'), '', { mode: 0o644 });
  expect(() => findAssets(folder)).toThrow(`there is no program ${folder}/kube-apiserver`);
  writeFileSync(join(folder, 'kube-scheduler'), '', { mode: 0o755 });
});

test('controller manager and scheduler may be missing', () => {
  rmSync(join(folder, 'kube-apiserver'));
  writeFileSync(join(folder, 'kube-apiserver'), '', { mode: 0o755 });
  const { controllerManager, scheduler } = findAssets(folder);
  expect([controllerManager, scheduler]).toEqual([undefined, join(folder, 'kube-scheduler')]);
});
