import { CollectedTypes } from './collected-types.ts';
import type { ControllerContext } from './context.ts';
import { GarbageCollector } from './garbage-collector.ts';
import { emptyNamespace } from './namespace-deletion.ts';
import { OwnerGraph } from './owner-graph.ts';

/** Garbage collection and the deletion of namespaces: both follow every object of every type. */
export function startCollection(context: ControllerContext): void {
  const { views } = context;
  const graph = new OwnerGraph();
  const garbage = context.queue('garbage-collector', async (uid) => collector.process(uid), 4);
  const namespaces = context.queue(
    'namespace-deletion',
    async (name) => emptyNamespace(context, graph, types, name),
    2,
  );
  const collector = new GarbageCollector(
    context,
    graph,
    () => types,
    (uid) => garbage.add(uid),
  );
  const isDeleting = (namespace: string | undefined): boolean =>
    namespace !== undefined && views.namespaces.get(namespace)?.metadata?.deletionTimestamp !== undefined;
  const types: CollectedTypes = new CollectedTypes(context, (now, before) => {
    if (now === undefined) graph.remove(before?.uid ?? '');
    else graph.put(now);
    collector.changed(now, before);
    const namespace = (now ?? before)?.ref.namespace;
    if (namespace !== undefined && isDeleting(namespace)) namespaces.add(namespace);
  });
  views.namespaces.onChange((now) => {
    if (now?.metadata?.deletionTimestamp !== undefined) namespaces.add(now.metadata.name ?? '');
  });
}
