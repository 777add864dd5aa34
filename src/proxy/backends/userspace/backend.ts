import type { Logger } from '../../../log/logger.ts';
import type { ProxyBackend, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';
import type { UserspaceSettings } from './settings.ts';

/** Services by sockets of this process: rules lead connections to it, and it connects to an endpoint itself. */
export class UserspaceBackend implements ProxyBackend {
  readonly mode = 'userspace';

  /** `netns`: descriptor of the network namespace to serve; the process's own when absent. */
  static open(
    _settings: ProxySettings,
    _modeSettings: UserspaceSettings,
    _logger?: Logger,
    _netns?: number,
  ): Promise<UserspaceBackend> {
    return Promise.resolve(new UserspaceBackend());
  }

  prepare(): Promise<void> {
    return Promise.resolve();
  }

  rebuild(_ports: Iterable<ServicePort>): Promise<SyncReport> {
    return Promise.resolve({ describe: () => [], conflicts: [] });
  }

  update(_changes: readonly ServicePortChange[]): Promise<SyncReport> {
    return Promise.resolve({ describe: () => [], conflicts: [] });
  }

  foreignChange(): Promise<boolean> {
    return Promise.resolve(false);
  }

  remove(): Promise<void> {
    return Promise.resolve();
  }

  /** Resolves when, after `remove`, the last established connection has ended. */
  drained(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
