import type { Deployment, ReplicaSet } from 'kubernetes-types/apps/v1.js';
import type { EventRecorder } from '../../cluster/event-recorder.ts';
import { keyOf, objectKey, refOf } from '../../cluster/kube-object.ts';
import { DEPLOYMENTS, REPLICA_SETS } from '../../cluster/resource-type.ts';
import { byController, type ControllerContext, type Views } from './context.ts';
import type { WorkQueue } from '../../reconcile/work-queue.ts';
import { deploymentStatus, untilDeadline } from './deployment-status.ts';
import { controllerOf } from './ownership.ts';
import { ReplicaSetHistory, REVISION } from './replica-set-history.ts';
import { nextNewSize, nextOldSizes, type SetSize, toleranceOf } from './rollout-math.ts';
import { writeStatus } from './status-writer.ts';
import { sameTemplate } from './template-hash.ts';

/** Brings Deployments from one pod template to the next, within maxSurge and maxUnavailable. */
export function startDeployments(context: ControllerContext): void {
  const again = (key: string, delayMs: number): void => queue.addAfter(key, delayMs);
  const rollouts = new Rollouts(context, again);
  const queue = context.queue('deployment', async (key) => rollouts.sync(key), 4);
  watchDeployments(context.views, queue);
}

class Rollouts {
  readonly #context: ControllerContext;
  readonly #recorder: EventRecorder;
  readonly #history: ReplicaSetHistory;
  readonly #again: (key: string, delayMs: number) => void;

  constructor(context: ControllerContext, again: (key: string, delayMs: number) => void) {
    this.#context = context;
    this.#recorder = context.recorder('deployment-controller');
    this.#history = new ReplicaSetHistory(context);
    this.#again = again;
  }

  async sync(key: string): Promise<void> {
    const deployment = this.#context.views.deployments.get(key);
    if (deployment === undefined) return;
    if (deployment.metadata?.deletionTimestamp === undefined) await this.#roll(deployment);
    await this.#updateStatus(deployment);
  }

  async #roll(deployment: Deployment): Promise<void> {
    const sets = this.#setsOf(deployment);
    const isPaused = deployment.spec?.paused === true;
    const found = sets.find((set) => sameTemplate(set.spec?.template, deployment.spec?.template));
    const old = sets.filter((set) => set !== found);
    if (isPaused) {
      // Only scaling: of the set that stands alone.
      const active = sets.filter((set) => (set.spec?.replicas ?? 0) > 0);
      const only = active.length === 1 ? active[0] : undefined;
      if (only !== undefined) await this.#resize(deployment, only, deployment.spec?.replicas ?? 1);
      return;
    }
    if (deployment.spec?.strategy?.type === 'Recreate' && !(await this.#isCleared(deployment, old))) return;
    const fresh = found ?? (await this.#begin(deployment, sets));
    if (fresh === undefined) return;
    const current = await this.#history.mark(deployment, fresh, old);
    await this.#step(deployment, current, old);
    await this.#history.prune(deployment, old);
  }

  async #begin(deployment: Deployment, sets: readonly ReplicaSet[]): Promise<ReplicaSet | undefined> {
    const created = await this.#history.create(deployment, sets);
    const replicas = created?.spec?.replicas ?? 0;
    if (created !== undefined && replicas > 0) this.#tellScaling(deployment, created, 0, replicas);
    return created;
  }

  async #step(deployment: Deployment, fresh: ReplicaSet, old: readonly ReplicaSet[]): Promise<void> {
    const wanted = deployment.spec?.replicas ?? 1;
    const tolerance = toleranceOf(deployment.spec ?? { selector: {}, template: {} });
    const oldSizes = old.map(sizeOf);
    const size = nextNewSize(wanted, tolerance, sizeOf(fresh), oldSizes);
    const resized = await this.#resize(deployment, fresh, size);
    const next = nextOldSizes(wanted, tolerance, sizeOf(resized), oldSizes);
    for (const set of old) await this.#resize(deployment, set, next.get(set.metadata?.name ?? '') ?? 0);
  }

  /** Recreate: nothing of the new before the last pod of the old is gone. */
  async #isCleared(deployment: Deployment, old: readonly ReplicaSet[]): Promise<boolean> {
    for (const set of old) await this.#resize(deployment, set, 0);
    return old.every(
      (set) => this.#context.views.pods.find(byController(set.metadata?.uid ?? '')).length === 0,
    );
  }

  async #resize(deployment: Deployment, set: ReplicaSet, replicas: number): Promise<ReplicaSet> {
    const before = set.spec?.replicas ?? 1;
    if (before === replicas) return set;
    const body = { spec: { replicas } };
    const resized = await this.#context.client.patch(
      REPLICA_SETS,
      refOf(set),
      { type: 'merge', body },
      { signal: this.#context.signal },
    );
    this.#context.views.replicaSets.written(resized);
    this.#tellScaling(deployment, set, before, replicas);
    return resized;
  }

  #tellScaling(deployment: Deployment, set: ReplicaSet, from: number, to: number): void {
    const name = set.metadata?.name ?? '';
    const message = `Scaled ${to > from ? 'up' : 'down'} replica set ${name} from ${from} to ${to}`;
    this.#recorder.record(deployment, 'Normal', 'ScalingReplicaSet', message);
  }

  #setsOf(deployment: Deployment): ReplicaSet[] {
    return this.#context.views.replicaSets
      .find(byController(deployment.metadata?.uid ?? ''))
      .filter((set) => set.metadata?.deletionTimestamp === undefined)
      .sort((a, b) => creationOf(a) - creationOf(b));
  }

  async #updateStatus(before: Deployment): Promise<void> {
    const deployment = this.#context.views.deployments.get(keyOf(before));
    if (deployment === undefined) return;
    const sets = this.#setsOf(deployment);
    const fresh = sets.find((set) => sameTemplate(set.spec?.template, deployment.spec?.template));
    const status = deploymentStatus(deployment, fresh, sets, Date.now());
    const deadline = untilDeadline(deployment, status, Date.now());
    if (deadline !== undefined) this.#again(keyOf(deployment), deadline);
    await writeStatus(this.#context, DEPLOYMENTS, this.#context.views.deployments, deployment, status);
  }
}

function watchDeployments(views: Views, queue: WorkQueue): void {
  views.deployments.onChange((now) => {
    if (now !== undefined) queue.add(keyOf(now));
  });
  views.replicaSets.onChange((now, before) => {
    const owner = controllerOf(now ?? before ?? {});
    const namespace = (now ?? before)?.metadata?.namespace;
    if (owner?.kind === 'Deployment') queue.add(objectKey({ namespace, name: owner.name }));
  });
  // A Recreate rollout waits for the last old pod to be gone.
  views.pods.onChange((now, before) => {
    if (now !== undefined || before === undefined) return;
    const set = controllerOf(before);
    const namespace = before.metadata?.namespace;
    if (set?.kind !== 'ReplicaSet') return;
    const owner = controllerOf(views.replicaSets.get(objectKey({ namespace, name: set.name })) ?? {});
    if (owner !== undefined) queue.add(objectKey({ namespace, name: owner.name }));
  });
}

function sizeOf(set: ReplicaSet): SetSize {
  return {
    name: set.metadata?.name ?? '',
    replicas: set.spec?.replicas ?? 1,
    available: Math.min(set.status?.availableReplicas ?? 0, set.spec?.replicas ?? 1),
  };
}

/** Sets made within one second are told apart by their revision. */
function creationOf(set: ReplicaSet): number {
  const revision = Number(set.metadata?.annotations?.[REVISION] ?? 0);
  return Date.parse(set.metadata?.creationTimestamp ?? '') + revision / 1e6;
}
