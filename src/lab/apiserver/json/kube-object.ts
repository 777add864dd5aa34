import { type Json, type JsonObject, isObject } from './json.ts';

/** metadata of every object (meta/v1 ObjectMeta), as far as the server looks into it. */
interface ObjectMeta extends JsonObject {
  name?: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  finalizers?: string[];
}

export interface KubeObject extends JsonObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
}

export function metaStrings(object: KubeObject, member: 'labels' | 'annotations'): Record<string, string> {
  const value: Json | undefined = object.metadata[member];
  return isObject(value) ? (value as Record<string, string>) : {};
}

/** Time as Kubernetes writes it: RFC 3339 in UTC, whole seconds. */
export function kubeTime(date: Date): string {
  return `${date.toISOString().slice(0, 19)}Z`;
}
