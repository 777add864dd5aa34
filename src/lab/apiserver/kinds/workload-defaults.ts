import { ensureObject, type JsonObject, objectAt, setDefaults } from '../json/json.ts';
import type { KubeObject } from '../json/kube-object.ts';
import { setPodSpecDefaults } from './pod-defaults.ts';

function setTemplateDefaults(spec: JsonObject): void {
  const template = objectAt(spec, 'template');
  if (template === undefined) return;
  setPodSpecDefaults(ensureObject(template, 'spec'));
  ensureObject(template, 'metadata');
}

export function setDeploymentDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  setDefaults(spec, { replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600 });
  const strategy = ensureObject(spec, 'strategy');
  setDefaults(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === '') strategy['type'] = 'RollingUpdate';
  if (strategy['type'] === 'RollingUpdate') {
    setDefaults(ensureObject(strategy, 'rollingUpdate'), { maxUnavailable: '25%', maxSurge: '25%' });
  }
  setTemplateDefaults(spec);
  ensureObject(object, 'status');
}

export function setReplicaSetDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  setDefaults(spec, { replicas: 1 });
  setTemplateDefaults(spec);
  setDefaults(ensureObject(object, 'status'), { replicas: 0 });
}

export function setDaemonSetDefaults(object: KubeObject): void {
  const spec = ensureObject(object, 'spec');
  setDefaults(spec, { revisionHistoryLimit: 10 });
  const strategy = ensureObject(spec, 'updateStrategy');
  setDefaults(strategy, { type: 'RollingUpdate' });
  if (strategy['type'] === 'RollingUpdate') {
    setDefaults(ensureObject(strategy, 'rollingUpdate'), { maxUnavailable: 1, maxSurge: 0 });
  }
  setTemplateDefaults(spec);
  setDefaults(ensureObject(object, 'status'), {
    currentNumberScheduled: 0,
    numberMisscheduled: 0,
    desiredNumberScheduled: 0,
    numberReady: 0,
  });
}
