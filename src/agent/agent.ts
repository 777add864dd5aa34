import { setMaxListeners } from 'node:events';
import { dirname, join } from 'node:path';
import { CniHandler } from '../cni/handler.ts';
import { CniServer } from '../cni/server.ts';
import { ApiClient } from '../cluster/api-client.ts';
import type { ClusterAccess } from '../cluster/access.ts';
import { EventRecorder } from '../cluster/event-recorder.ts';
import { describeError } from '../errors/flatnet-error.ts';
import { LinuxRouteKernel } from '../kernel/netlink/apply.ts';
import { NftSocket } from '../kernel/nft/nft-socket.ts';
import type { Logger } from '../log/logger.ts';
import { openBackend } from '../podnet/backends/open-backend.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';
import { PodNetwork } from '../podnet/pod-network.ts';
import type { ProxyConfig } from '../proxy/config/proxy-config.ts';
import { tellWithoutEffect } from '../proxy/server/set-up.ts';
import { sleep } from '../timing/backoff.ts';
import { AfterBurst } from './after-burst.ts';
import { holdAgentLock } from './agent-lock.ts';
import { BackendRollout } from './backend-rollout.ts';
import { followConfig, setUpNode } from './config-follower.ts';
import { checkNetwork, loadConfig, type AgentConfig, type AgentFile, type Overrides } from './config.ts';
import type { HealthCheck } from './health.ts';
import { AgentMetrics } from './metrics.ts';
import { NodeNetwork } from './node-network.ts';
import { NodeProblems } from './node-problems.ts';
import { openStore, type OpenedStore } from './open-store.ts';
import { PodAttachment } from './pod-attachment.ts';
import { PodFeatures } from './pod-features.ts';
import { podnetStatus } from './podnet-status.ts';
import { ProxyRunner } from './proxy-runner.ts';
import { serveStatus } from './status-server.ts';

export interface AgentOptions {
  readonly config: AgentFile;
  /** The file that it came from, which is followed; undefined where flags said everything. */
  readonly configPath: string | undefined;
  /** Fields that flags have set in place of those of the file. */
  readonly overrides: Overrides;
  /** Absent where nodes find each other by etcd and no kubeconfig is given: then nobody serves Services here. */
  readonly access: ClusterAccess | undefined;
  readonly nodeName: string;
  readonly logger: Logger;
  /** The plugin executable that is installed into the CNI folder; undefined where it was not built. */
  readonly pluginSource: string | undefined;
}

/** What has to be known before the parts can be made. */
interface Foundation {
  readonly config: AgentConfig;
  readonly client: ApiClient | undefined;
  readonly kernel: LinuxRouteKernel;
  readonly opened: OpenedStore;
  readonly rollout: BackendRollout;
}

/** The parts of one node's agent, wired together. */
class Agent {
  readonly #options: AgentOptions;
  readonly #foundation: Foundation;
  readonly #attachment: PodAttachment;
  readonly #features: PodFeatures;
  readonly #network: PodNetwork;
  readonly #node: NodeNetwork;
  readonly #proxy: ProxyRunner | undefined;
  readonly #metrics: AgentMetrics;
  readonly #problems: NodeProblems;
  readonly #burst = new AfterBurst();

  constructor(options: AgentOptions, foundation: Foundation, signal: AbortSignal) {
    const { nodeName, logger } = options;
    const { config, client, kernel, opened, rollout } = foundation;
    this.#options = options;
    this.#foundation = foundation;
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
    const source = { component: 'flatnet-agent', host: nodeName, signal };
    const events = client === undefined ? undefined : new EventRecorder(client, source);
    const titleOf = (node: string): string => this.#network.leaseOf(node)?.alias ?? node;
    this.#problems = new NodeProblems(logger, this.#metrics, events, titleOf);
    this.#network = new PodNetwork({
      kernel,
      logger,
      onProblems: (node, problems) => this.#problems.set(node, 'network', problems),
      onUnderlayChange: () => this.#node.refresh(),
      onReached: () => this.#node.peersChanged(),
    });
    this.#node = new NodeNetwork({
      ...options,
      ...opened,
      config,
      kernel,
      nft: NftSocket.open(),
      rollout,
      network: this.#network,
      attachment: this.#attachment,
      onAddressChange: () => client?.reconnect(),
      onProblems: (problems) => this.#problems.set(nodeName, 'own', problems),
    });
    const shared = { config, nodeName, registry: this.#metrics.registry, logger };
    const serves = client !== undefined && config.proxy.enabled;
    this.#proxy = serves ? new ProxyRunner({ ...shared, client }) : undefined;
  }

  /** Works until the signal is aborted, and leaves everything in the kernel. */
  async run(signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    const { config, client, kernel, opened } = this.#foundation;
    const handler = new CniHandler({
      attacher: () => this.#attachment.attacher,
      attachmentPoint: () => (this.#node.hasLostSubnet ? undefined : this.#attachment.point),
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
      this.#followConfig(signal),
      this.#burst.run(signal),
      ...this.#statusServers(signal),
    ]);
    opened.close();
    await client?.close();
    kernel.close();
  }

  async #serveServices(signal: AbortSignal): Promise<void> {
    if (this.#proxy === undefined) return;
    const { logger } = this.#options;
    const { proxy } = this.#foundation.config;
    tellWithoutEffect(proxy, logger, 'proxy.');
    await setUpNode(proxy, logger);
    await this.#proxy.run(signal);
  }

  async #followConfig(signal: AbortSignal): Promise<void> {
    const { config, configPath, overrides, logger } = this.#options;
    const paths = [configPath, config.netConfigPath].filter((path) => path !== undefined);
    this.#foundation.opened.onNetworkConfig = (network) => void this.#takeFromStore(network);
    const load = async (): ReturnType<typeof loadConfig> => loadConfig(configPath, overrides);
    const takeProxy = async (next: ProxyConfig): Promise<void> => {
      await this.#proxy?.switchTo(next);
      if (this.#proxy !== undefined) await setUpNode(next, logger);
    };
    const takeNetwork = async (network: NetworkConfig): Promise<void> => this.#takeNetwork(network);
    await followConfig({ paths, config, load, takeProxy, takeNetwork, logger }, signal);
  }

  async #takeNetwork(network: NetworkConfig): Promise<void> {
    const config = { ...this.#foundation.config, network };
    checkNetwork(config, 'network');
    await this.#node.changeBackend(config);
  }

  async #takeFromStore(network: NetworkConfig): Promise<void> {
    try {
      await this.#takeNetwork(network);
    } catch (error) {
      this.#options.logger.error(
        { error: describeError(error) },
        'the changed network in the store is not taken',
      );
    }
  }

  async #followNodes(signal: AbortSignal): Promise<void> {
    await this.#foundation.opened.store.run(
      {
        self: (node) => {
          this.#node.setNode(node);
        },
        peer: (node, lease, problems) => {
          this.#burst.count();
          this.#problems.set(node, 'store', problems);
          if (lease === undefined) this.#network.removePeer(node);
          else this.#network.setPeer(lease);
        },
        synced: () => this.#network.allowPrune(),
      },
      signal,
    );
  }

  #statusServers(signal: AbortSignal): Promise<void>[] {
    const { logger, nodeName } = this.#options;
    const { config, rollout } = this.#foundation;
    const { healthzBindAddress: healthz, metricsBindAddress: metrics } = config;
    const one = JSON.stringify(healthz) === JSON.stringify(metrics);
    const { store } = this.#foundation.opened;
    const parts = { node: this.#node, network: this.#network, problems: this.#problems, store };
    const shared = {
      ready: this.#checks(),
      registry: this.#metrics.registry,
      logger,
      status: () => podnetStatus({ ...parts, nodeName, rollout }),
      ...(this.#proxy === undefined ? {} : { proxyMode: () => this.#proxy?.mode ?? config.proxy.mode }),
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
    const { store } = this.#foundation.opened;
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
        failure: () => (store.hasSynced ? undefined : 'the list of nodes is not complete yet'),
      },
      ...(proxy === undefined ? [] : [{ name: 'proxy', required: true, failure: () => proxy.failure() }]),
      // What is in the kernel goes on working without it.
      { name: 'api-server', required: false, failure: () => textOf(store.failure) },
    ];
  }
}

/** Runs the node's agent until the signal is aborted. Rejects when it cannot work at all (no netlink, no CNI socket). */
export async function runAgent(options: AgentOptions, signal: AbortSignal): Promise<void> {
  // Everything long-lived listens on it.
  setMaxListeners(100, signal);
  await holdAgentLock(`${options.config.cni.socketPath}.lock`, signal);
  const foundation = await layFoundation(options, signal).catch((error: unknown) => {
    // Ended while it waited for the store.
    if (signal.aborted) return undefined;
    throw error;
  });
  if (foundation === undefined) return;
  await new Agent(options, foundation, signal).run(signal);
  // Requests that ended with the signal settle in the next turn.
  await sleep(0);
}

async function layFoundation(options: AgentOptions, signal: AbortSignal): Promise<Foundation> {
  const { access, logger, nodeName, config: file } = options;
  const client = access === undefined ? undefined : new ApiClient(access, 'flatnet-agent');
  const kernel = LinuxRouteKernel.open();
  const opened = await openStore({ config: file, nodeName, client, kernel, logger }, signal);
  const config = { ...file, network: opened.network };
  checkNetwork(config, options.configPath ?? 'network');
  const rollout = await BackendRollout.open(config.network.backend, {
    open: async (settings) => openBackend(settings, { logger }),
    path: join(dirname(config.cni.socketPath), 'backends.json'),
    logger,
  });
  return { config, client, kernel, opened, rollout };
}

/** Where the plugin executable may be: beside the bundle that runs, or in `dist` when it runs from source. */
export function pluginCandidates(script: string): string[] {
  const folder = dirname(script);
  return [join(folder, 'flatnet-cni'), join(folder, '..', '..', 'dist', 'flatnet-cni')];
}

const textOf = (error: unknown): string | undefined =>
  error === undefined ? undefined : describeError(error);
