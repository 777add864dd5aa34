import type { Namespace } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { EVENTS, NAMESPACES, type ResourceType } from '../../cluster/resource-type.ts';
import { refOf } from '../../cluster/kube-object.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import type { CollectedTypes } from './collected-types.ts';
import type { ControllerContext } from './context.ts';
import { kubeTime } from './kube-time.ts';
import type { OwnedObject, OwnerGraph } from './owner-graph.ts';
import { writeStatus } from './status-writer.ts';

const REMAINING = 'NamespaceContentRemaining';

/** Empties a namespace that is being deleted, then lets it go. Called anew when something in it has gone. */
export async function emptyNamespace(
  context: ControllerContext,
  graph: OwnerGraph,
  types: CollectedTypes,
  name: string,
): Promise<void> {
  const { client, views, signal } = context;
  const namespace = views.namespaces.get(name);
  if (namespace?.metadata?.deletionTimestamp === undefined) return;
  const content = graph.contentOf(name);
  // What owns others first: otherwise its controller would make up for what is deleted.
  for (const object of content.toSorted((a, b) => a.owners.length - b.owners.length)) {
    if (!object.isDeleting) await remove(context, object.type, object.ref);
  }
  if (content.length > 0) {
    if (content.every(({ isDeleting }) => isDeleting)) await reportRemaining(context, namespace, content);
    return;
  }
  // The graph may be behind, and Events are not in it.
  for (const type of [...types.all(), EVENTS]) {
    if (!type.namespaced) continue;
    const { items } = await client.list(type, { namespace: name, signal });
    for (const item of items) await remove(context, type, refOf(item));
    if (items.length > 0 && type !== EVENTS) throw stillThere(name, type);
  }
  try {
    const finalized = { ...namespace, spec: { ...namespace.spec, finalizers: [] } };
    await client.replace(NAMESPACES, finalized, { subresource: 'finalize', signal });
  } catch (error) {
    if (!hasStatus(error, 404)) throw error;
  }
}

/** Says in the namespace's status what keeps it: a finalizer that nobody removes would be hard to find else. */
async function reportRemaining(
  context: ControllerContext,
  namespace: Namespace,
  content: readonly OwnedObject[],
): Promise<void> {
  const counts = new Map<string, number>();
  for (const { type } of content) counts.set(nameOf(type), (counts.get(nameOf(type)) ?? 0) + 1);
  const list = [...counts].map(([name, count]) => `${name} has ${count} resource instances`).sort();
  const message = `Some resources are remaining: ${list.join(', ')}`;
  const known = namespace.status?.conditions?.find(({ type }) => type === REMAINING);
  if (known?.message === message) return;
  const lastTransitionTime = known?.lastTransitionTime ?? kubeTime();
  const condition = { type: REMAINING, status: 'True', reason: 'SomeResourcesRemain', message };
  await writeStatus(context, NAMESPACES, context.views.namespaces, namespace, {
    ...namespace.status,
    conditions: [{ ...condition, lastTransitionTime }],
  });
}

function nameOf({ plural, group }: ResourceType): string {
  return group === '' ? `${plural}.` : `${plural}.${group}`;
}

async function remove(
  { client, signal }: ControllerContext,
  type: ResourceType,
  ref: ReturnType<typeof refOf>,
): Promise<void> {
  try {
    await client.delete(type, ref, { signal, propagationPolicy: 'Background' });
  } catch (error) {
    if (!hasStatus(error, 404)) throw error;
  }
}

function stillThere(name: string, type: ResourceType): FlatnetError {
  return new FlatnetError(`namespace ${name} still holds ${type.plural}`, {
    code: 'NAMESPACE_NOT_EMPTY',
    retryable: true,
  });
}
