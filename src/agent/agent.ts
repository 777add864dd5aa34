import { setMaxListeners } from 'node:events';
import { dirname, join } from 'node:path';
import { CniHandler } from '../cni/handler.ts';
import { CniServer } from '../cni/server.ts';
import { ApiClient } from '../cluster/api-client.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { EventRecorder } from '../cluster/event-recorder.ts';
import { describeError, type FlatnetError } from '../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../kernel/netlink/apply.ts';
import { NftSocket } from '../kernel/nft/nft-socket.ts';
import type { Logger } from '../log/logger.ts';
import { openBackend } from '../podnet/backends/open-backend.ts';
import { PodNetwork, type Ways } from '../podnet/pod-network.ts';
import { NodeStore } from '../podnet/stores/kubernetes/node-store.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
import { tellWithoutEffect } from '../proxy/server/set-up.ts';
import { sleep } from '../timing/backoff.ts';
import type { AgentConfig } from './config.ts';
import type { HealthCheck } from './health.ts';
import { AgentMetrics } from './metrics.ts';
import { NodeNetwork } from './node-network.ts';
import { PodAttachment } from './pod-attachment.ts';
import { PodFeatures } from './pod-features.ts';
import { followProxyConfig, setUpNode } from './proxy-config-follower.ts';
import { ProxyRunner } from './proxy-runner.ts';
import { serveStatus } from './status-server.ts';

export interface AgentOptions {
  readonly config: AgentConfig;
  /** The file that it came from: its section `proxy` is followed. */
  readonly configPath: string;
  readonly access: ClusterAccess;
  readonly nodeName: string;
  readonly logger: Logger;
  /** The plugin executable that is installed into the CNI folder; undefined where it was not built. */
  readonly pluginSource: string | undefined;
}

/** The parts of one node's agent, wired together. */
class Agent {
  readonly #options: AgentOptions;
  readonly #client: ApiClient;
  readonly #kernel: LinuxRouteKernel;
  readonly #store: NodeStore;
  readonly #attachment: PodAttachment;
  readonly #features: PodFeatures;
  readonly #network: PodNetwork;
  readonly #node: NodeNetwork;
  readonly #proxy: ProxyRunner | undefined;
  readonly #metrics: AgentMetrics;
  readonly #events: EventRecorder;

  constructor(options: AgentOptions, ways: Ways, signal: AbortSignal) {
    const { config, nodeName, logger, access } = options;
    this.#options = options;
    this.#client = new ApiClient(access, 'flatnet-agent');
    this.#kernel = LinuxRouteKernel.open();
    const kernel = this.#kernel;
    this.#store = new NodeStore({
      client: this.#client,
      nodeName,
      networks: config.network.networks,
      logger,
    });
    this.#features = new PodFeatures(kernel, logger);
    this.#attachment = new PodAttachment({
      ...config.cni,
      features: this.#features.list,
      kernels: { node: kernel, open: (netns) => LinuxRouteKernel.open(netns) },
      logger,
    });
    this.#metrics = new AgentMetrics({
      peers: () => this.#network.peerCount,
      reserved: () => this.#attachment.reserved,
      capacity: () => this.#attachment.capacity,
    });
    this.#events = new EventRecorder(this.#client, { component: 'flatnet-agent', host: nodeName, signal });
    this.#network = new PodNetwork({
      kernel,
      logger,
      onProblems: (node, problems) => this.#reportProblems(node, problems),
      onUnderlayChange: () => this.#node.refresh(),
    });
    this.#node = new NodeNetwork({
      ...options,
      kernel,
      nft: NftSocket.open(),
      ways,
      network: this.#network,
      attachment: this.#attachment,
      store: this.#store,
    });
    this.#proxy = config.proxy.enabled
      ? new ProxyRunner({ config, client: this.#client, nodeName, registry: this.#metrics.registry, logger })
      : undefined;
  }

  /** Works until the signal is aborted, and leaves everything in the kernel. */
  async run(signal: AbortSignal): Promise<void> {
    const { config, logger } = this.#options;
    const handler = new CniHandler({
      attacher: () => this.#attachment.attacher,
      attachmentPoint: () => this.#attachment.point,
      notReady: () => this.#node.waitsFor ?? 'starting',
      degraded: () => (this.#node.waitsFor === undefined ? textOf(this.#network.failure) : undefined),
      logger,
      observe: (command, code, durationMs) => this.#metrics.cniRequest(command, code, durationMs),
    });
    await this.#node.restore();
    await CniServer.listen(
      { socketPath: config.cni.socketPath, handle: async (call) => handler.handle(call), logger },
      signal,
    );
    await Promise.all([
      this.#followNodes(signal),
      this.#network.run(signal),
      this.#node.run(signal),
      this.#attachment.run(signal),
      this.#features.run(signal),
      this.#serveServices(signal),
      ...this.#statusServers(signal),
    ]);
    await this.#client.close();
    this.#kernel.close();
  }

  async #serveServices(signal: AbortSignal): Promise<void> {
    const proxy = this.#proxy;
    if (proxy === undefined) return;
    const { config, configPath: path, logger } = this.#options;
    tellWithoutEffect(config.proxy, logger, 'proxy.');
    await setUpNode(config.proxy, logger);
    const take = async (next: ProxyConfig): Promise<void> => {
      await proxy.switchTo(next);
      await setUpNode(next, logger);
    };
    await Promise.all([proxy.run(signal), followProxyConfig({ path, config, take, logger }, signal)]);
  }

  async #followNodes(signal: AbortSignal): Promise<void> {
    await this.#store.run(
      {
        self: (node) => {
          this.#node.setNode(node);
        },
        peer: (node, lease, problems) => {
          this.#reportProblems(node, problems);
          if (lease === undefined) this.#network.removePeer(node);
          else this.#network.setPeer(lease);
        },
        synced: () => this.#network.allowPrune(),
      },
      signal,
    );
  }

  #reportProblems(node: string, problems: readonly FlatnetError[]): void {
    if (problems.length === 0) this.#metrics.peerProblems.remove({ node });
    else this.#metrics.peerProblems.set({ node }, problems.length);
    for (const problem of problems) {
      this.#options.logger.warn(
        { node, code: problem.code, error: describeError(problem) },
        'a node cannot be reached as it is',
      );
      const reference = { apiVersion: 'v1', kind: 'Node', metadata: { name: node } };
      this.#events.record(reference, 'Warning', 'PodNetworkUnreachable', describeError(problem));
    }
  }

  #statusServers(signal: AbortSignal): Promise<void>[] {
    const { config, logger } = this.#options;
    const { healthzBindAddress: healthz, metricsBindAddress: metrics } = config;
    const one = JSON.stringify(healthz) === JSON.stringify(metrics);
    const shared = {
      ready: this.#checks(),
      registry: this.#metrics.registry,
      logger,
      ...(config.proxy.enabled ? { proxyMode: () => this.#proxy?.mode ?? config.proxy.mode } : {}),
    };
    return [
      ...(healthz === undefined
        ? []
        : [serveStatus({ ...shared, name: 'healthz', address: healthz }, signal)]),
      ...(metrics === undefined || one
        ? []
        : [serveStatus({ ...shared, name: 'metrics', address: metrics }, signal)]),
    ];
  }

  #checks(): HealthCheck[] {
    const proxy = this.#proxy;
    return [
      {
        name: 'cni',
        required: true,
        failure: () => (this.#attachment.point === undefined ? this.#node.waitsFor : undefined),
      },
      { name: 'podnet', required: true, failure: () => this.#node.waitsFor ?? textOf(this.#network.failure) },
      {
        name: 'nodes',
        required: true,
        failure: () => (this.#store.hasSynced ? undefined : 'the list of nodes is not complete yet'),
      },
      ...(proxy === undefined ? [] : [{ name: 'proxy', required: true, failure: () => proxy.failure() }]),
      // What is in the kernel goes on working without it.
      { name: 'api-server', required: false, failure: () => textOf(this.#store.failure) },
    ];
  }
}

/** Runs the node's agent until the signal is aborted. Rejects when it cannot work at all (no netlink, no CNI socket). */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  // Everything long-lived listens on it.
  setMaxListeners(100, signal);
  const { config, logger } = options;
  const { backend, drivers } = await openBackend(config.network.backend, { logger });
  await new Agent(options, { backends: [backend], drivers }, signal).run(signal);
  // Requests that ended with the signal settle in the next turn.
  await sleep(0);
}

/** Where the plugin executable may be: beside the bundle that runs, or in `dist` when it runs from source. */
export function pluginCandidates(script: string): string[] {
  const folder = dirname(script);
  return [join(folder, 'flatnet-cni'), join(folder, '..', '..', 'dist', 'flatnet-cni')];
}

const textOf = (error: unknown): string | undefined =>
  error === undefined ? undefined : describeError(error);
