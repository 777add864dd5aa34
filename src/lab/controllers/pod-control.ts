import type { Pod, PodTemplateSpec } from 'kubernetes-types/core/v1.js';
import { hasStatus } from '../../cluster/api-error.ts';
import type { EventRecorder } from '../../cluster/event-recorder.ts';
import { type KubeObject, refOf } from '../../cluster/kube-object.ts';
import { PODS, type ResourceType } from '../../cluster/resource-type.ts';
import { describeError } from '../../errors/flatnet-error.ts';
import type { ControllerContext } from './context.ts';
import { controlledBy } from './ownership.ts';

/** Requests under way at once for one owner. */
const PARALLEL = 8;

export interface PodOwner {
  readonly type: ResourceType;
  readonly object: KubeObject;
  readonly recorder: EventRecorder;
}

/** Creates and deletes the pods of an owner, with the Events that a person looks for there. */
export class PodControl {
  readonly #context: ControllerContext;
  readonly #owner: PodOwner;

  constructor(context: ControllerContext, owner: PodOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  /** Throws the first failure after telling it in an Event; pods not begun by then are left out. */
  async create(templates: readonly PodTemplateSpec[]): Promise<void> {
    const { client, views, signal } = this.#context;
    const { object, recorder } = this.#owner;
    await inBatches(templates, async (template) => {
      try {
        const pod = await client.create(PODS, this.#pod(template), { signal });
        views.pods.written(pod);
        recorder.record(object, 'Normal', 'SuccessfulCreate', `Created pod: ${pod.metadata?.name ?? ''}`);
      } catch (error) {
        recorder.record(object, 'Warning', 'FailedCreate', `Error creating: ${describeError(error)}`);
        throw error;
      }
    });
  }

  async delete(pods: readonly Pod[]): Promise<void> {
    const { client, views, signal } = this.#context;
    const { object, recorder } = this.#owner;
    await inBatches(pods, async (pod) => {
      const name = pod.metadata?.name ?? '';
      const uid = pod.metadata?.uid;
      try {
        const preconditions = uid === undefined ? {} : { preconditions: { uid } };
        await client.delete(PODS, refOf(pod), { signal, ...preconditions });
        const deletionTimestamp = new Date().toISOString();
        views.pods.written({ ...pod, metadata: { ...pod.metadata, deletionTimestamp } });
        recorder.record(object, 'Normal', 'SuccessfulDelete', `Deleted pod: ${name}`);
      } catch (error) {
        // Gone already, or another pod of the same name by now.
        if (hasStatus(error, 404) || hasStatus(error, 409)) return;
        recorder.record(object, 'Warning', 'FailedDelete', `Error deleting: ${describeError(error)}`);
        throw error;
      }
    });
  }

  #pod(template: PodTemplateSpec): Pod {
    const { name, namespace } = refOf(this.#owner.object);
    const { labels, annotations, finalizers = [] } = template.metadata ?? {};
    return {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        generateName: `${name}-`,
        ...(namespace === undefined ? {} : { namespace }),
        ...(labels === undefined ? {} : { labels }),
        ...(annotations === undefined ? {} : { annotations }),
        ...(finalizers.length === 0 ? {} : { finalizers }),
        ownerReferences: [controlledBy(this.#owner.type, this.#owner.object)],
      },
      ...(template.spec === undefined ? {} : { spec: template.spec }),
    };
  }
}

async function inBatches<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  for (let start = 0; start < items.length; start += PARALLEL) {
    const results = await Promise.allSettled(items.slice(start, start + PARALLEL).map(act));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}
