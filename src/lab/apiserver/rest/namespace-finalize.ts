import { mediaType, parseObjectBody, readBody } from '../http/body.ts';
import { type Call, sendText } from '../http/call.ts';
import { ensureObject, objectAt } from '../json/json.ts';
import { methodNotAllowed } from '../json/status-error.ts';
import type { ResourceDefinition } from '../kinds/resource-definition.ts';
import type { ObjectWriter } from './object-writer.ts';
import type { ResourcePath } from './request-info.ts';
import { parseWriteOptions } from './write-options.ts';

/** namespaces/finalize: the only way to change spec.finalizers; without any left a deleted namespace is gone. */
export async function finalizeNamespace(
  call: Call,
  namespaces: ResourceDefinition,
  path: ResourcePath,
  writer: ObjectWriter,
): Promise<void> {
  if (call.method !== 'PUT') throw methodNotAllowed();
  const body = parseObjectBody(await readBody(call.request), mediaType(call.request));
  const { dryRun } = parseWriteOptions(call);
  const target = { definition: namespaces, namespace: '', user: call.user, dryRun };
  const stored = writer.update(
    target,
    path.name ?? '',
    (current) => {
      const finalizers = objectAt(body, 'spec')?.['finalizers'];
      const spec = ensureObject(current, 'spec');
      if (Array.isArray(finalizers) && finalizers.length > 0) spec['finalizers'] = finalizers;
      else delete spec['finalizers'];
      return current;
    },
    'finalize',
  );
  sendText(call.response, 200, `${stored.text}\n`);
}
