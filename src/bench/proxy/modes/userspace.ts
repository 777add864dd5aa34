import { wrongInKernel, type BenchCluster, type Change } from '../bench-cluster.ts';
import type { BenchNetwork } from '../bench-network.ts';
import { BenchCalls } from '../calls/bench-calls.ts';
import { clusterIp, podIp, SERVICE_PORT } from '../recorded-objects.ts';
import type { BenchMode, KernelView } from './mode.ts';

/** So many Services are called, spread over all, to see that they are what they should be. */
const SAMPLES = 20;

/**
 * Endpoints are in the process, not in the kernel: a connection that the new one answers tells that it is there. For
 * that a change leaves the new one alone.
 */
export const USERSPACE: BenchMode = {
  name: 'userspace',
  proxyMode: 'userspace',
  changes: ['only'],
  connection: 'answer',
  view: (network) => new UserspaceView(network),
};

const target = (index: number): string => `${clusterIp(index)}:${SERVICE_PORT}`;

class UserspaceView implements KernelView {
  readonly #calls: BenchCalls;
  #answered: Promise<void> | undefined;

  constructor(network: BenchNetwork) {
    this.#calls = new BenchCalls(network);
  }

  /** The one that calls is started before, so that its start is not measured. */
  async expectChange({ index, pod }: Change): Promise<void> {
    const calling = await this.#calls.awaitName(target(index), podIp(pod));
    this.#answered = calling.answered;
  }

  async awaitChange(): Promise<void> {
    await this.#answered;
  }

  async verify({ pods }: BenchCluster): Promise<void> {
    const step = Math.max(1, Math.floor(pods.length / SAMPLES));
    const indexes = pods.map((_, index) => index).filter((index) => index % step === 0);
    const most = Math.max(...indexes.map((index) => pods[index]?.length ?? 0));
    // Round robin: each endpoint has its turn.
    const names = await this.#calls.names(indexes.map(target), most);
    for (const index of indexes) {
      const wanted = new Set(pods[index]?.map(podIp));
      const found = names.get(target(index)) ?? new Set();
      if (found.size !== wanted.size || ![...wanted].every((name) => found.has(name))) {
        throw wrongInKernel(`something else for Service ${index}`);
      }
    }
  }

  close(): void {}
}
