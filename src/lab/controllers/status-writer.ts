import { hasStatus } from '../../cluster/api-error.ts';
import { type KubeObject, refOf } from '../../cluster/kube-object.ts';
import type { ResourceType } from '../../cluster/resource-type.ts';
import type { ControllerContext } from './context.ts';
import type { ObjectView } from './object-view.ts';
import { sameJson } from './same-json.ts';

/** Writes a status of which the controller is the only author, when it differs; objects that are gone are left. */
export async function writeStatus<T extends KubeObject & { status?: object }>(
  context: ControllerContext,
  type: ResourceType<T>,
  view: ObjectView<T>,
  object: T,
  status: object,
): Promise<void> {
  if (sameJson(status, object.status)) return;
  try {
    const body = { status };
    const options = { subresource: 'status', signal: context.signal };
    view.written(await context.client.patch(type, refOf(object), { type: 'merge', body }, options));
  } catch (error) {
    if (!hasStatus(error, 404)) throw error;
  }
}
