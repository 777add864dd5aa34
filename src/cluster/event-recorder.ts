import type { ApiClient } from './api-client.ts';
import type { KubeObject } from './kube-object.ts';

export interface EventRecorderOptions {
  /** `flatnet-agent`, `scheduler`: the `source.component` of the Events. */
  readonly component: string;
  /** `source.host`. */
  readonly host?: string | undefined;
  readonly signal: AbortSignal;
}

/** Tells a person who looks at an object what happened to it. Never floods: repeats are counted in one Event. */
export class EventRecorder {
  constructor(client: ApiClient, options: EventRecorderOptions) {
    void [client, options];
  }

  /** Queues the Event and returns at once; one that cannot be delivered is logged and dropped. */
  record(object: KubeObject, type: 'Normal' | 'Warning', reason: string, message: string): void {
    void [object, type, reason, message];
  }
}
