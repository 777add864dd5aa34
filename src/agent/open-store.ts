import { readFile } from 'node:fs/promises';
import type { ApiClient } from '../cluster/api-client.ts';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { Logger } from '../log/logger.ts';
import type { NetworkConfig } from '../podnet/network-config.ts';
import type { EtcdSettings } from '../podnet/stores/etcd/settings.ts';
import { NodeStore } from '../podnet/stores/kubernetes/node-store.ts';
import type { LeaseStore } from '../podnet/stores/lease-store.ts';
import { parseSubnetEnv } from '../podnet/subnet-env.ts';
import type { AgentFile } from './config.ts';
import { readNetConf } from './net-conf.ts';

export interface OpenedStore {
  readonly store: LeaseStore;
  readonly network: NetworkConfig;
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

/** Opens the store that the configuration names, and waits until it is known what the pod network is. */
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
  return { store, network, onNetworkConfig: undefined, close: () => undefined };
}

async function openEtcd(
  { access, prefix, renewMarginSeconds }: EtcdSettings,
  { config, nodeName, kernel, logger }: StoreContext,
  signal: AbortSignal,
): Promise<OpenedStore> {
  // Loaded only where it is used: gRPC alone takes several megabytes.
  const { EtcdClient } = await import('../etcd/etcd-client.ts');
  const { EtcdLeaseStore } = await import('../podnet/stores/etcd/etcd-lease-store.ts');
  const client = new EtcdClient(access);
  const opened: { onNetworkConfig: OpenedStore['onNetworkConfig'] } = { onNetworkConfig: undefined };
  const shared = { client, nodeName, prefix, readConfig: readNetConf, renewMarginSeconds, logger };
  // The subnet of the run before is known to belong here only when the networks are known.
  const first = new EtcdLeaseStore(shared);
  const network = await first.networkConfig(signal);
  const text = await readFile(config.subnetFile, 'utf8').catch(() => '');
  const store = new EtcdLeaseStore({
    ...shared,
    previous: parseSubnetEnv(text, network)?.podCidrs,
    ownAddresses: kernel.addresses().map(({ ip }) => ip),
    onNetworkConfig: (changed) => opened.onNetworkConfig?.(changed),
  });
  await store.networkConfig(signal);
  return Object.assign(opened, { store, network, close: () => client.close() });
}
