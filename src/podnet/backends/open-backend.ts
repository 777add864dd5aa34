import { release } from 'node:os';
import type { Logger } from '../../log/logger.ts';
import type { BackendSettings } from '../network-config.ts';
import type { Backend } from './backend.ts';
import type { EntryDriver } from './entry-driver.ts';

/** What a backend may need of the machine. */
export interface BackendContext {
  readonly logger: Logger;
  /** Descriptor of the node's network namespace; the process's own when absent. */
  readonly netns?: number;
}

export interface OpenedBackend {
  readonly backend: Backend;
  /** For entries that rtnetlink cannot make. */
  readonly drivers: readonly EntryDriver[];
}

/** The backend of the settings, and what it needs to reach the kernel. Throws FlatnetError that names what is missing. */
export async function openBackend(
  settings: BackendSettings,
  context: BackendContext,
): Promise<OpenedBackend> {
  switch (settings.type) {
    case 'vxlan': {
      const { VxlanBackend } = await import('./vxlan/vxlan.ts');
      return { backend: new VxlanBackend(settings, release()), drivers: [] };
    }
    case 'ipip': {
      const { IpipBackend } = await import('./ipip/ipip.ts');
      return { backend: new IpipBackend(settings), drivers: [] };
    }
    case 'alloc': {
      const { AllocBackend } = await import('./alloc/alloc.ts');
      return { backend: new AllocBackend(), drivers: [] };
    }
    case 'host-gw': {
      const { HostGwBackend } = await import('./hostgw/host-gw.ts');
      return { backend: new HostGwBackend(), drivers: [] };
    }
    case 'wireguard': {
      const { openWireguardBackend } = await import('./wireguard/open.ts');
      return openWireguardBackend(settings, context);
    }
    default: {
      const { openUdpBackend } = await import('./udp/open.ts');
      return openUdpBackend(settings, context);
    }
  }
}
