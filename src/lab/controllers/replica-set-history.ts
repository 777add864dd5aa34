import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import { keyOf, refOf } from '../../cluster/kube-object.ts';
import { DEPLOYMENTS, REPLICA_SETS } from '../../cluster/resource-type.ts';
import type { ControllerContext } from './context.ts';
import { controlledBy, controllerOf } from './ownership.ts';
import { nextNewSize, toleranceOf } from './rollout-math.ts';
import { POD_TEMPLATE_HASH, sameTemplate, templateHash } from './template-hash.ts';

export const REVISION = 'deployment.kubernetes.io/revision';
const DESIRED = 'deployment.kubernetes.io/desired-replicas';
const MAXIMUM = 'deployment.kubernetes.io/max-replicas';
const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';
/** Not copied from the Deployment to its sets. */
const OWN_ANNOTATIONS = new Set([LAST_APPLIED, REVISION, DESIRED, MAXIMUM]);

/** The ReplicaSets of a Deployment as its revisions: what `kubectl rollout history` and `undo` read. */
export class ReplicaSetHistory {
  readonly #context: ControllerContext;

  constructor(context: ControllerContext) {
    this.#context = context;
  }

  /** The set for the Deployment's present template; undefined when its name is taken (tried again). */
  async create(deployment: Deployment, sets: readonly ReplicaSet[]): Promise<ReplicaSet | undefined> {
    const { client, views, signal } = this.#context;
    const collisions = deployment.status?.collisionCount ?? 0;
    const wanted = this.#newSet(deployment, sets, templateHash(deployment.spec?.template, collisions));
    try {
      const created = await client.create(REPLICA_SETS, wanted, { signal });
      views.replicaSets.written(created);
      return created;
    } catch (error) {
      if (!hasStatus(error, 409)) throw error;
      const existing = await client.get(REPLICA_SETS, refOf(wanted), { signal });
      const isOurs = controllerOf(existing)?.uid === deployment.metadata?.uid;
      if (isOurs && sameTemplate(existing.spec?.template, deployment.spec?.template)) {
        views.replicaSets.written(existing);
        return existing;
      }
      await this.#countCollision(deployment, collisions + 1);
      return undefined;
    }
  }

  /** Gives the current set the highest revision and the Deployment's annotations, and tells the Deployment. */
  async mark(deployment: Deployment, fresh: ReplicaSet, old: readonly ReplicaSet[]): Promise<ReplicaSet> {
    const { client, views, signal } = this.#context;
    const highest = Math.max(0, ...old.map(revisionOf));
    const revision = String(revisionOf(fresh) > highest ? revisionOf(fresh) : highest + 1);
    let marked = fresh;
    const annotations = { ...copied(deployment), ...sizes(deployment), [REVISION]: revision };
    if (!includes(fresh.metadata?.annotations, annotations)) {
      const body = { metadata: { annotations } };
      marked = await client.patch(REPLICA_SETS, refOf(fresh), { type: 'merge', body }, { signal });
      views.replicaSets.written(marked);
    }
    if (deployment.metadata?.annotations?.[REVISION] !== revision) {
      const body = { metadata: { annotations: { [REVISION]: revision } } };
      const told = await client.patch(DEPLOYMENTS, refOf(deployment), { type: 'merge', body }, { signal });
      views.deployments.written(told);
    }
    return marked;
  }

  /** Removes the oldest emptied sets beyond revisionHistoryLimit. */
  async prune(deployment: Deployment, old: readonly ReplicaSet[]): Promise<void> {
    const { client, signal } = this.#context;
    const limit = deployment.spec?.revisionHistoryLimit ?? 10;
    const empty = old.filter((set) => set.spec?.replicas === 0 && (set.status?.replicas ?? 0) === 0);
    const surplus = [...empty]
      .sort((a, b) => revisionOf(a) - revisionOf(b))
      .slice(0, Math.max(0, empty.length - limit));
    for (const set of surplus) {
      try {
        await client.delete(REPLICA_SETS, refOf(set), { signal, propagationPolicy: 'Background' });
      } catch (error) {
        if (!hasStatus(error, 404)) throw error;
      }
    }
  }

  async #countCollision(deployment: Deployment, collisionCount: number): Promise<void> {
    const { client, views, signal } = this.#context;
    const written = await client.patch(
      DEPLOYMENTS,
      refOf(deployment),
      { type: 'merge', body: { status: { collisionCount } } },
      { subresource: 'status', signal },
    );
    views.deployments.written(written);
    this.#context.logger.debug(
      { deployment: keyOf(deployment), collisionCount },
      'name of a ReplicaSet is taken',
    );
  }

  #newSet(deployment: Deployment, sets: readonly ReplicaSet[], hash: string): ReplicaSet {
    const { name, namespace } = refOf(deployment);
    const { template, selector, minReadySeconds, replicas = 1 } = deployment.spec ?? {};
    const labels = { ...template?.metadata?.labels, [POD_TEMPLATE_HASH]: hash };
    const others = sets.map((set) => ({ name: '', replicas: set.spec?.replicas ?? 1, available: 0 }));
    const tolerance = toleranceOf(deployment.spec ?? { selector: {}, template: {} });
    const revision = String(Math.max(0, ...sets.map(revisionOf)) + 1);
    return {
      metadata: {
        name: `${name}-${hash}`,
        ...(namespace === undefined ? {} : { namespace }),
        labels,
        annotations: { ...copied(deployment), ...sizes(deployment), [REVISION]: revision },
        ownerReferences: [controlledBy(DEPLOYMENTS, deployment)],
      },
      spec: {
        replicas: nextNewSize(replicas, tolerance, { name: '', replicas: 0, available: 0 }, others),
        ...(minReadySeconds === undefined ? {} : { minReadySeconds }),
        selector: { ...selector, matchLabels: { ...selector?.matchLabels, [POD_TEMPLATE_HASH]: hash } },
        template: { ...template, metadata: { ...template?.metadata, labels } },
      },
    };
  }
}

function revisionOf(set: ReplicaSet): number {
  return Number(set.metadata?.annotations?.[REVISION] ?? 0);
}

/** The Deployment's annotations that its sets carry, too: kubernetes.io/change-cause above all. */
function copied(deployment: Deployment): Record<string, string> {
  const all = Object.entries(deployment.metadata?.annotations ?? {});
  return Object.fromEntries(all.filter(([key]) => !OWN_ANNOTATIONS.has(key)));
}

function sizes(deployment: Deployment): Record<string, string> {
  const replicas = deployment.spec?.replicas ?? 1;
  const { maxSurge } = toleranceOf(deployment.spec ?? { selector: {}, template: {} });
  return { [DESIRED]: String(replicas), [MAXIMUM]: String(replicas + maxSurge) };
}

function includes(all: Record<string, string> | undefined, wanted: Record<string, string>): boolean {
  return Object.entries(wanted).every(([key, value]) => all?.[key] === value);
}
