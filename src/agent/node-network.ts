import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { enableForwarding } from '../cni/bridge.ts';
import { exists, installExecutable, installFile, PLUGIN_NAME, renderConflist } from '../cni/installation.ts';
import { FlatnetError, describeError } from '../errors/flatnet-error.ts';
import type { RouteEvent } from '../kernel/netlink/objects.ts';
import type { RouteKernel } from '../kernel/netlink/route-kernel.ts';
import type { NftKernel } from '../kernel/nft/objects.ts';
import type { Logger } from '../log/logger.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';
import type { Mac } from '../net/mac.ts';
import { podMtu, type Backend, type LocalNode } from '../podnet/backends/backend.ts';
import { renderTunnelRules, TUNNEL_TABLE } from '../podnet/tunnel/ruleset.ts';
import { readVtep } from '../podnet/backends/vxlan/vtep.ts';
import { MASQUERADE_TABLE, renderMasquerade, renderNoMasquerade } from '../podnet/masquerade/ruleset.ts';
import type { Offer } from '../podnet/node-lease.ts';
import type { PodNetwork, Ways } from '../podnet/pod-network.ts';
import type { LeaseStore, OwnNode, Publication } from '../podnet/stores/lease-store.ts';
import { parseSubnetEnv, renderSubnetEnv } from '../podnet/subnet-env.ts';
import { describeLocalNode, readNodeFacts } from '../podnet/underlay.ts';
import { WorkQueue } from '../reconcile/work-queue.ts';
import type { AgentConfig } from './config.ts';
import type { PodAttachment } from './pod-attachment.ts';

export interface NodeNetworkOptions {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly kernel: RouteKernel;
  readonly nft: NftKernel;
  readonly ways: Ways;
  readonly network: PodNetwork;
  readonly attachment: PodAttachment;
  readonly store: LeaseStore;
  readonly logger: Logger;
  /** The plugin executable to install; undefined where it was not built. */
  readonly pluginSource: string | undefined;
}

const CONFIGURE = 'configure';
const BRIDGE = 'bridge';
const VERIFY = 'verify';
const VERIFY_EVERY_MS = 60_000;
const OWN_TABLES = [MASQUERADE_TABLE, TUNNEL_TABLE];

/**
 * Brings this node's own part of the pod network about, each step when the one before is in place: tunnel devices,
 * bridge and addresses, subnet.env, masquerade, plugin, and last the conflist that lets the runtime start pods.
 */
export class NodeNetwork {
  readonly #options: NodeNetworkOptions;
  readonly #queue: WorkQueue;
  #node: OwnNode | undefined;
  #applied = '';
  #rules = '';
  #podCidrs: ReadonlyMap<IpFamily, Cidr> = new Map();
  #waitsFor: string;

  constructor(options: NodeNetworkOptions) {
    this.#options = options;
    this.#waitsFor = `node ${options.nodeName}: the API server has not answered yet`;
    this.#queue = new WorkQueue({
      name: 'node-network',
      process: async (key) => this.#process(key),
      maxBackoffMs: 5_000,
      logger: options.logger,
    });
  }

  /** Why pods cannot be started yet; undefined when they can. */
  get waitsFor(): string | undefined {
    return this.#waitsFor === '' ? undefined : this.#waitsFor;
  }

  /**
   * Serves what an earlier run has left in subnet.env, so that pods can come and go before the API server answers.
   * Without such a file, or with one of another cluster, nothing happens.
   */
  async restore(): Promise<void> {
    const { config, attachment, logger } = this.#options;
    const text = await readFile(config.subnetFile, 'utf8').catch(() => '');
    const left = parseSubnetEnv(text, config.network);
    if (left === undefined) return;
    try {
      enableForwarding(config.network.networks.keys());
      attachment.configure({ name: config.cni.bridge, podCidrs: [...left.podCidrs.values()], mtu: left.mtu });
      logger.info(
        { podCidrs: [...left.podCidrs.values()].map(String) },
        'serving pods as the run before did',
      );
    } catch (error) {
      logger.warn(
        { error: describeError(error) },
        'cannot go on as the run before; waiting for the API server',
      );
    }
  }

  /** The node's own object has changed; undefined: there is none. */
  setNode(node: OwnNode | undefined): void {
    const { nodeName } = this.#options;
    // What is in the kernel stays: a Node object that is gone may be made anew in a moment.
    if (node === undefined) this.#waitsFor = `node ${nodeName} is not registered with the API server`;
    this.#node = node ?? this.#node;
    if (node !== undefined) this.#queue.add(CONFIGURE);
  }

  /** Something that the node's plan depends on may have changed. */
  refresh(): void {
    this.#queue.add(CONFIGURE);
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#options.kernel.watch({ groups: ['link'], signal, onEvent: (event) => this.#onEvent(event) });
    this.#queue.addAfter(VERIFY, VERIFY_EVERY_MS);
    await this.#queue.run(signal);
  }

  async #process(key: string): Promise<void> {
    if (key === VERIFY) {
      this.#queue.addAfter(VERIFY, VERIFY_EVERY_MS);
      await this.#verify();
    } else if (key === BRIDGE) this.#options.attachment.repair();
    else await this.#configure();
  }

  /** Puts right what others may have undone and what no event tells of; frees what vanished pods held. */
  async #verify(): Promise<void> {
    const { attachment, nft } = this.#options;
    attachment.reclaim();
    if (this.#podCidrs.size === 0) return;
    enableForwarding(this.#podCidrs.keys());
    const gone = (name: string): boolean => nft.chains({ family: 'inet', name }) === undefined;
    if (OWN_TABLES.some((name) => this.#rules.includes(`table inet ${name} {`) && gone(name)))
      this.#rules = '';
    await this.#applyRules();
    await this.#installPlugin();
    await this.#installConflist();
  }

  async #configure(): Promise<void> {
    if (this.#node === undefined) return;
    try {
      await this.#apply(this.#node);
    } catch (error) {
      this.#waitsFor = describeError(error);
      throw error;
    }
  }

  async #apply(node: OwnNode): Promise<void> {
    const { config, kernel, ways, network, attachment, store, nodeName } = this.#options;
    const podCidrs = podCidrsOf(node, config.network.networks);
    const local = describeLocalNode(readNodeFacts(kernel), {
      name: nodeName,
      config: config.network,
      podCidrs,
      internalIps: node.internalIps,
      iface: config.iface,
      macs: publishedMacs(node),
    });
    const mtu = podMtu(ways.backends, local);
    const wanted = JSON.stringify([local.underlay, [...local.families]]);
    if (wanted !== this.#applied || this.#waitsFor !== '') {
      enableForwarding(podCidrs.keys());
      network.setLocal(local, ways);
      attachment.configure({ name: config.cni.bridge, podCidrs: [...podCidrs.values()], mtu });
      this.#podCidrs = podCidrs;
      const subnetEnv = renderSubnetEnv(config.network, podCidrs, mtu, config.ipMasq);
      await Promise.all([
        installFile(config.subnetFile, subnetEnv, 0o644),
        this.#applyRules(),
        this.#installPlugin(),
      ]);
      await this.#installConflist();
      this.#applied = wanted;
      this.#waitsFor = '';
      this.#options.logger.info(
        { podCidrs: [...podCidrs.values()].map(String), underlay: local.underlay.device, podMtu: mtu },
        'pod network ready on this node',
      );
    }
    store.publish(publicationOf(this.#options, node, local));
    store.markAvailable();
  }

  async #applyRules(): Promise<void> {
    const { config, nft, ways } = this.#options;
    const ranges = [...this.#podCidrs].map(([family, podCidr]) => ({
      podCidr,
      network: config.network.networks.get(family) ?? podCidr,
    }));
    const masquerade = config.ipMasq
      ? renderMasquerade(ranges, config.proxy.nftables.masqueradeBit)
      : renderNoMasquerade();
    const ruleset = masquerade + renderTunnelRules(ways.backends.flatMap(({ tunnelPorts }) => tunnelPorts));
    if (ruleset === this.#rules) return;
    await nft.load(ruleset);
    this.#rules = ruleset;
  }

  async #installPlugin(): Promise<void> {
    const { config, pluginSource } = this.#options;
    const target = join(config.cni.binDir, PLUGIN_NAME);
    if (pluginSource !== undefined) await installExecutable(pluginSource, target);
    else if (!(await exists(target))) {
      throw new FlatnetError(`there is no CNI plugin: neither beside the agent nor at ${target}`, {
        code: 'PLUGIN_MISSING',
        hint: 'build it (npm run build on a machine with a C compiler) or install it there',
      });
    }
  }

  /** Last of all: with it the runtime calls the node ready. */
  async #installConflist(): Promise<void> {
    const { config, logger } = this.#options;
    const { cni } = config;
    const conflist = renderConflist({
      networkName: cni.networkName,
      socketPath: cni.socketPath,
      defaultSocketPath: '/run/flatnet/cni.sock',
      portmap: await exists(join(cni.binDir, 'portmap')),
    });
    const path = join(cni.confDir, cni.confFile);
    if (await installFile(path, conflist, 0o644))
      logger.info({ path }, 'conflist written: the runtime may start pods');
  }

  #onEvent(event: RouteEvent): void {
    if (event.kind === 'resync') this.#queue.addAfter(BRIDGE, 20);
    if (event.kind !== 'link' || event.link.name !== this.#options.config.cni.bridge) return;
    if (event.action === 'delete' || !event.link.up) this.#queue.addAfter(BRIDGE, 20);
  }
}

/** Throws POD_CIDR_MISSING while the cluster has not given the node one of each family. */
function podCidrsOf(node: OwnNode, networks: ReadonlyMap<IpFamily, Cidr>): ReadonlyMap<IpFamily, Cidr> {
  for (const family of networks.keys()) {
    if (node.podCidrs.has(family)) continue;
    const problem = node.problems.find(({ code }) => code === 'INVALID_POD_CIDR');
    if (problem !== undefined) throw problem;
    throw new FlatnetError(`node ${node.name}: spec.podCIDRs has no IPv${family} range yet`, {
      code: 'POD_CIDR_MISSING',
      retryable: true,
      hint: 'the controller manager assigns it: it needs --allocate-node-cidrs and --cluster-cidr',
    });
  }
  return node.podCidrs;
}

function publishedMacs({ published }: OwnNode): Map<IpFamily, Mac> {
  const macs = new Map<IpFamily, Mac>();
  if (published?.type !== 'vxlan') return macs;
  for (const [family, data] of published.data) {
    try {
      macs.set(family, readVtep(data).mac);
    } catch {
      // Spoiled by somebody: it is written anew.
    }
  }
  return macs;
}

function publicationOf({ ways, config }: NodeNetworkOptions, node: OwnNode, local: LocalNode): Publication {
  const publicIps = new Map<IpFamily, Ip>();
  for (const [family, { ip }] of local.families) {
    const configured = family === 4 ? config.publicIP : config.publicIPv6;
    publicIps.set(family, node.publicIpOverwrites.get(family) ?? configured ?? ip);
  }
  const [first, ...more] = ways.backends.map((backend) => offerOf(backend, local));
  if (first === undefined) throw new Error('a node has at least one backend');
  return { offers: [first, ...more], publicIps };
}

function offerOf(backend: Backend, local: LocalNode): Offer {
  const data = [...local.families].map(([family, facts]) => [family, backend.data(facts, family)] as const);
  return { type: backend.type, data: new Map(data) };
}
