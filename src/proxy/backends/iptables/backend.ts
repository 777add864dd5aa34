import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { IptablesKernel, IptablesVariant } from '../../../kernel/iptables/objects.ts';
import type { Logger } from '../../../log/logger.ts';
import type { ProxyBackend, SyncReport } from '../../backend.ts';
import type { ServicePort, ServicePortChange } from '../../services/service-port.ts';
import type { ProxySettings } from '../../settings.ts';

export interface IptablesModeSettings {
  /** Default: found out from what the node's kubelet and others have programmed. */
  readonly variant?: IptablesVariant;
}

/** Service ports in kube-proxy's chains of iptables. */
export class IptablesBackend implements ProxyBackend {
  readonly mode = 'iptables';
  readonly #kernels: readonly IptablesKernel[];

  constructor(kernels: readonly IptablesKernel[], _settings: ProxySettings) {
    this.#kernels = kernels;
  }

  static async open(
    _settings: ProxySettings,
    _modeSettings: IptablesModeSettings = {},
    _logger?: Logger,
    _netns?: number,
  ): Promise<IptablesBackend> {
    return Promise.reject(new FlatnetError('the iptables mode is not there yet', { code: 'ENOSYS' }));
  }

  async prepare(): Promise<void> {}

  async rebuild(_ports: Iterable<ServicePort>): Promise<SyncReport> {
    return Promise.resolve({ describe: () => [], conflicts: [] });
  }

  async update(_changes: readonly ServicePortChange[]): Promise<SyncReport> {
    return Promise.resolve({ describe: () => [], conflicts: [] });
  }

  async foreignChange(): Promise<boolean> {
    return Promise.resolve(false);
  }

  async remove(): Promise<void> {}

  async close(): Promise<void> {
    for (const kernel of this.#kernels) kernel.close();
    return Promise.resolve();
  }
}
