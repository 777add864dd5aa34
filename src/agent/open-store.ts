import { readFile } from 'node:fs/promises';
import type { ApiClient } from '../cluster/api-client.ts';
import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';
import type { EtcdLeaseStore } from '../podnet/stores/etcd/etcd-lease-store.ts';
import type { EtcdSettings } from '../podnet/stores/etcd/settings.ts';
import { NodeStore } from '../podnet/stores/kubernetes/node-store.ts';
import type { LeaseStore } from '../podnet/stores/lease-store.ts';
import { parseSubnetEnv } from '../podnet/subnet-env.ts';
import { sleep } from '../timing/backoff.ts';
import type { AgentFile } from './config.ts';
import { readNetConf } from './net-conf.ts';
import { NodeMemory, type Remembered } from './node-memory.ts';

export interface OpenedStore {
  readonly store: LeaseStore;
  readonly network: NetworkConfig;
  readonly memory: NodeMemory;
  /** What the run before knew; undefined at the first. */
  readonly remembered: Remembered | undefined;
  /** The networks as they stand in the store; undefined where the configuration has them. */
  networkText(): string | undefined;
  /** What the store's networks become while it runs: etcd has the configuration itself. */
  onNetworkConfig: ((network: NetworkConfig) => void) | undefined;
  close(): void;
}

export interface StoreContext {
  readonly config: AgentFile;
  readonly nodeName: string;
  /** Absent where there is no Kubernetes API. */
  readonly client: ApiClient | undefined;
  readonly kernel: RouteKernel;
  readonly logger: Logger;
}

const nothing = (): undefined => undefined;

/** How long an etcd that could answer may take before the node goes on with what it knew. */
const ANSWER_MS = 2000;

/**
 * Opens the store that the configuration names, and waits until it is known what the pod network is: where the store
 * has it and does not answer, it is what the run before knew.
 */
export async function openStore(context: StoreContext, signal: AbortSignal): Promise<OpenedStore> {
  const { config, client, nodeName, logger } = context;
  if (config.store.etcd !== undefined) return openEtcd(config.store.etcd, context, signal);
  const { network } = config;
  if (network === undefined || client === undefined) {
    throw new FlatnetError('without store.etcd the network and an API server are needed', {
      code: 'INVALID_CONFIG',
      hint: 'give network (or netConfigPath) and --kubeconfig',
    });
  }
  const store = new NodeStore({
    client,
    nodeName,
    networks: network.networks,
    annotationPrefix: config.kubeAnnotationPrefix,
    logger,
  });
  const memory = new NodeMemory({ ...config, nodeName, store: 'kubernetes', logger });
  const remembered = await memory.recall();
  return {
    store,
    network,
    memory,
    remembered,
    onNetworkConfig: undefined,
    networkText: nothing,
    close: nothing,
  };
}

async function openEtcd(
  { access, prefix, renewMarginSeconds }: EtcdSettings,
  { config, nodeName, kernel, logger }: StoreContext,
  signal: AbortSignal,
): Promise<OpenedStore> {
  const memory = new NodeMemory({
    ...config,
    nodeName,
    store: `etcd ${access.endpoints.map(({ address }) => address).join()} ${prefix}`,
    logger,
  });
  const remembered = await memory.recall();
  // Loaded only where it is used: gRPC alone takes several megabytes.
  const { EtcdClient } = await import('../etcd/etcd-client.ts');
  const { EtcdLeaseStore } = await import('../podnet/stores/etcd/etcd-lease-store.ts');
  const client = new EtcdClient(access);
  const opened: { onNetworkConfig: OpenedStore['onNetworkConfig'] } = { onNetworkConfig: undefined };
  const shared = { client, nodeName, prefix, readConfig: readNetConf, renewMarginSeconds, logger };
  // The subnet of the run before is known to belong here only when the networks are known.
  const first = new EtcdLeaseStore({ ...shared, networkText: remembered?.networkText });
  const network = await networkOf(first, logger, signal);
  const text = await readFile(config.subnetFile, 'utf8').catch(() => '');
  const store = new EtcdLeaseStore({
    ...shared,
    previous: parseSubnetEnv(text, network)?.podCidrs,
    networkText: first.networkText,
    ownAddresses: kernel.addresses().map(({ ip }) => ip),
    onNetworkConfig: (changed) => opened.onNetworkConfig?.(changed),
  });
  return Object.assign(opened, {
    store,
    network,
    memory,
    remembered,
    networkText: () => store.networkText,
    close: () => client.close(),
  });
}

/** What etcd says, if it says so soon; else what the run before knew, where there was one. */
async function networkOf(store: EtcdLeaseStore, logger: Logger, signal: AbortSignal): Promise<NetworkConfig> {
  const known = store.network;
  if (known === undefined) return store.networkConfig(signal);
  try {
    const answered = await Promise.race([store.networkConfigNow(), sleep(ANSWER_MS, signal)]);
    if (answered !== undefined) return answered;
    throw new FlatnetError(`etcd has not answered within ${ANSWER_MS / 1000} s`, { code: 'ETCD_TIMEOUT' });
  } catch (error) {
    logger.warn(
      { error: describeError(error), config: store.networkText?.slice(0, 2000) },
      'etcd is away: starting with the network configuration that it had',
    );
    return known;
  }
}
