import type { KubeObject } from './kube-object.ts';

/** One operation of RFC 6902. */
interface JsonPatchOperation {
  readonly op: 'add' | 'remove' | 'replace' | 'move' | 'copy' | 'test';
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

export type Patch =
  /** RFC 7386. */
  | { readonly type: 'merge'; readonly body: object }
  /** Kubernetes' own: lists merged by their keys. Not for custom resources. */
  | { readonly type: 'strategic'; readonly body: object }
  | { readonly type: 'json'; readonly body: readonly JsonPatchOperation[] }
  /** Server-side apply; creates the object when it is not there. */
  | {
      readonly type: 'apply';
      readonly body: KubeObject;
      readonly fieldManager: string;
      readonly force?: boolean;
    };

export const PATCH_CONTENT_TYPES: Readonly<Record<Patch['type'], string>> = {
  merge: 'application/merge-patch+json',
  strategic: 'application/strategic-merge-patch+json',
  json: 'application/json-patch+json',
  // JSON is YAML; kube-apiserver knows apply by this content type alone.
  apply: 'application/apply-patch+yaml',
};
