import { join } from 'node:path';
import { BenchAgent } from '../agent/bench-agent.ts';
import { PluginNetwork } from './plugin-network.ts';

/** Flatnet's built agent and plugin on a node of a cluster of one. */
export class FlatnetNetwork {
  readonly network: PluginNetwork;
  readonly #agent: BenchAgent;

  private constructor(agent: BenchAgent) {
    this.#agent = agent;
    const { folder, netns } = agent.machine;
    const socketPath = join(folder, 'cni.sock');
    this.network = new PluginNetwork({
      netns: netns.fd,
      folder,
      plugin: join(folder, 'bin', 'flatnet'),
      path: join(folder, 'bin'),
      configuration: { cniVersion: '1.0.0', name: 'cbr0', type: 'flatnet', socketPath },
    });
  }

  static async start(prefix: string): Promise<FlatnetNetwork> {
    const cluster = { network: '10.244.0.0/16', podCidr: '10.244.0.0/23' };
    return new FlatnetNetwork(await BenchAgent.start({ prefix, ...cluster }));
  }

  async close(): Promise<void> {
    await this.#agent.close();
  }
}
