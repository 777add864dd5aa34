/**
 * Shape of a type: enough for strict decoding, strategic merge, server-side apply and OpenAPI. Built-in types
 * are read from the published typings, those of custom resources from their OpenAPI schema.
 */
export interface TypeSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'number' | 'boolean' | 'int-or-string' | 'any';
  /** Of named built-in types: `io.k8s.api.core.v1.Pod`. */
  readonly name?: string;
  readonly description?: string;
  readonly format?: string;
  /** Known members of an object; undefined when any are allowed. */
  readonly properties?: ReadonlyMap<string, TypeSchema>;
  readonly required?: readonly string[];
  /** Values of a map. */
  readonly values?: TypeSchema;
  readonly items?: TypeSchema;
  /** How server-side apply merges lists; `map` by the keys. */
  readonly listType?: 'atomic' | 'set' | 'map';
  readonly listKeys?: readonly string[];
  /** Defaults of list keys that may be left out (protocol: TCP). */
  readonly keyDefaults?: Readonly<Record<string, string>>;
  /** Replaced as a whole by server-side apply. */
  readonly atomic?: boolean;
  /** Strategic merge patch: lists are merged by this member, or as a set when it is ''. */
  readonly patchMergeKey?: string;
  readonly retainKeys?: boolean;
  readonly preserveUnknown?: boolean;
}
