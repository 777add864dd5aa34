import type { PoolReference } from '../pod-addresses.ts';
import type { Attachment } from '../protocol/request.ts';
import type { ContainerAddress } from '../protocol/result.ts';
import type { RuntimeConfig } from '../protocol/runtime-config.ts';

/** How a pod's interface hangs on the node: a port of the bridge, or routed point to point, as the plugins are called. */
export type InterfaceMode = 'bridge' | 'ptp';

/** What the node remembers of one interface of one container for as long as it exists, over restarts. */
export interface AttachmentRecord extends Attachment {
  /** Name of the network in the runtime's configuration. */
  readonly network: string;
  /** Path of the container's network namespace, as the runtime gave it. */
  readonly netns: string;
  /** `namespace/name`, where the runtime said it. */
  readonly pod: string | undefined;
  readonly mode: InterfaceMode;
  /** Name of the node's end of the veth. */
  readonly hostInterface: string;
  readonly addresses: readonly ContainerAddress[];
  /** False where the configuration wants none; of mode bridge. */
  readonly hairpin?: boolean | undefined;
  /** What the configuration limits it to, whatever the network carries. */
  readonly mtu?: number | undefined;
  /** Where the addresses are reserved, if not in the node's own folder. */
  readonly pool?: PoolReference | undefined;
  readonly runtimeConfig: RuntimeConfig;
}
