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
import type { IpFamily } from '../net/ip.ts';
import { podMtu, type LocalNode } from '../podnet/backends/backend.ts';
import { chooseNodeAddress } from '../podnet/node-address.ts';
import { readNodeFacts } from '../podnet/node-facts.ts';
import type { PodNetwork } from '../podnet/pod-network.ts';
import type { LeaseStore, OwnNode, Publication } from '../podnet/stores/lease-store.ts';
import { parseSubnetEnv, renderSubnetEnv } from '../podnet/subnet-env.ts';
import { describeLocalNode, excessiveMtu } from '../podnet/underlay.ts';
import { WorkQueue } from '../reconcile/work-queue.ts';
import { judgeOwnChange } from './backend-change.ts';
import type { BackendRollout } from './backend-rollout.ts';
import { smallestMtu } from './cluster-mtu.ts';
import type { AgentConfig } from './config.ts';
import type { NodeMemory, Remembered } from './node-memory.ts';
import { NodeRules } from './node-rules.ts';
import type { PodAttachment } from './pod-attachment.ts';
import { publicationOf, publishedMacs } from './publication.ts';
import { strandedPods } from './stranded-pods.ts';

export interface NodeNetworkOptions {
  readonly config: AgentConfig;
  readonly nodeName: string;
  readonly kernel: RouteKernel;
  readonly nft: NftKernel;
  readonly rollout: BackendRollout;
  readonly network: PodNetwork;
  readonly attachment: PodAttachment;
  readonly store: LeaseStore;
  readonly memory: NodeMemory;
  /** What the run before knew of this node; undefined at the first. */
  readonly remembered: Remembered | undefined;
  /** The networks as they stand in the store; undefined where the configuration has them. */
  readonly networkText: () => string | undefined;
  readonly logger: Logger;
  /** What is wrong with this node and does not keep it from serving; called when it has changed. */
  readonly onProblems: (problems: readonly FlatnetError[]) => void;
  /** This node has another address than it had a moment ago. */
  readonly onAddressChange: () => void;
  /** The plugin executable to install; undefined where it was not built. */
  readonly pluginSource: string | undefined;
}

/** What this node has become, for people. */
export interface NodeNetworkStatus {
  readonly waitsFor: string | undefined;
  readonly podMtu: number | undefined;
  readonly publication: Publication | undefined;
}

const CONFIGURE = 'configure';
const BRIDGE = 'bridge';
const TELL = 'tell';
const VERIFY = 'verify';
const VERIFY_EVERY_MS = 60_000;
/** So soon it is looked again whether all nodes are known, where a change of backend waits for it. */
const SYNC_WAIT_MS = 500;
/** A store that has said nothing for so long after the start is told as away. */
const SILENCE_MS = 5000;

/**
 * Brings this node's own part of the pod network about, each step when the one before is in place: tunnel devices,
 * bridge and addresses, subnet.env, masquerade, plugin, and last the conflist that lets the runtime start pods.
 */
export class NodeNetwork {
  readonly #options: NodeNetworkOptions;
  readonly #queue: WorkQueue;
  readonly #rules: NodeRules;
  #config: AgentConfig;
  #node: OwnNode | undefined;
  /** In force until the store has told what this node has now. */
  #remembered: Remembered | undefined;
  readonly #since = performance.now();
  #local: LocalNode | undefined;
  #publication: Publication | undefined;
  #podMtu: number | undefined;
  #applied = '';
  #clusterMtu = 0;
  #told = '';
  #excessiveMtu: FlatnetError | undefined;
  #podCidrs: ReadonlyMap<IpFamily, Cidr> = new Map();
  #waitsFor: string;

  constructor(options: NodeNetworkOptions) {
    this.#options = options;
    this.#config = options.config;
    this.#waitsFor = `node ${options.nodeName}: ${storeName(options.config)} has not answered yet`;
    this.#rules = new NodeRules(options.nft, options.config, options.logger);
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

  /** Whether the store has given the node's subnet to another: a pod must not get an address of it. */
  get hasLostSubnet(): boolean {
    const { etcd } = this.#config.store;
    return etcd !== undefined && this.#remembered === undefined && this.#node?.podCidrs.size === 0;
  }

  get status(): NodeNetworkStatus {
    return { waitsFor: this.waitsFor, podMtu: this.#podMtu, publication: this.#publication };
  }

  /**
   * Serves what an earlier run has left, so that pods can come and go, and the node's devices and rules are looked
   * after, before the store answers. Without its files, or with those of another cluster, nothing happens.
   */
  async restore(): Promise<void> {
    const { config, attachment, logger, remembered } = this.#options;
    if (remembered !== undefined && isOf(remembered.node.podCidrs, config.network)) {
      this.#remembered = remembered;
      this.#node = remembered.node;
      this.#queue.add(CONFIGURE);
      this.#queue.addAfter(TELL, SILENCE_MS);
    }
    const text = await readFile(config.subnetFile, 'utf8').catch(() => '');
    const left = parseSubnetEnv(text, config.network);
    if (left === undefined) return;
    try {
      enableForwarding(config.network.networks.keys());
      attachment.configure({ name: config.cni.bridge, podCidrs: [...left.podCidrs.values()], mtu: left.mtu });
      this.#podMtu = left.mtu;
      logger.info(
        { podCidrs: [...left.podCidrs.values()].map(String) },
        'serving pods as the run before did',
      );
    } catch (error) {
      logger.warn(
        { error: describeError(error) },
        `cannot go on as the run before; waiting for ${storeName(config)}`,
      );
    }
  }

  /** The node's own object has changed; undefined: there is none. */
  setNode(node: OwnNode | undefined): void {
    const { nodeName } = this.#options;
    // What is in the kernel stays: a Node object that is gone may be made anew in a moment.
    if (node === undefined) this.#waitsFor = `node ${nodeName} is not registered with the API server`;
    this.#node = node ?? this.#node;
    if (node === undefined) return;
    // etcd has to hear first who asks: until then the node has what it had. A Node object says what it has.
    const isLost = node.problems.some(({ code }) => code === 'SUBNET_LOST');
    const isTold = this.#config.store.etcd === undefined || node.podCidrs.size > 0 || isLost;
    if (isTold) this.#remembered = undefined;
    this.#queue.add(CONFIGURE);
  }

  /** Something that the node's plan depends on may have changed. */
  refresh(): void {
    this.#queue.add(CONFIGURE);
  }

  /** Another node has come, gone or changed: matters for a change of backend, and for the smallest MTU. */
  peersChanged(): void {
    const { rollout, config } = this.#options;
    const mtu = this.#local?.underlay.mtu;
    if (mtu === undefined) return;
    const matters =
      config.podMTU === 'cluster' && smallestMtu(mtu, this.#options.network.leases()) !== this.#clusterMtu;
    if (matters || rollout.stage !== 'settled') this.#queue.add(CONFIGURE);
  }

  /** Takes another backend or MTU of it; what else is in it is not looked at. Throws CHANGE_REFUSED, and keeps what is. */
  async changeBackend(config: AgentConfig): Promise<void> {
    const { rollout, network } = this.#options;
    const { backend } = config.network;
    const local = this.#local;
    if (local !== undefined) {
      try {
        judgeOwnChange(rollout.settings, backend, local, network.leases());
      } catch (error) {
        rollout.refuse(error, backend);
        this.#queue.add(CONFIGURE);
        throw error;
      }
    }
    await rollout.change(backend);
    this.#queue.add(CONFIGURE);
    if (rollout.refused !== undefined) throw rollout.refused;
    this.#config = { ...this.#config, network: config.network };
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#options.kernel.watch({
      groups: ['link', 'address'],
      signal,
      onEvent: (event) => this.#onEvent(event),
    });
    this.#queue.addAfter(VERIFY, VERIFY_EVERY_MS);
    await this.#queue.run(signal);
  }

  async #process(key: string): Promise<void> {
    if (key === VERIFY) {
      this.#queue.addAfter(VERIFY, VERIFY_EVERY_MS);
      await this.#verify();
    } else if (key === BRIDGE) this.#options.attachment.repair();
    else if (key === TELL) this.#tell(this.#node?.problems ?? []);
    else await this.#configure();
  }

  /** Puts right what others may have undone and what no event tells of; frees what vanished pods held. */
  async #verify(): Promise<void> {
    this.#options.attachment.reclaim();
    if (this.#podCidrs.size === 0) return;
    enableForwarding(this.#podCidrs.keys());
    this.#rules.verify();
    await this.#applyRules();
    await this.#installPlugin();
    await this.#installConflist();
    // The default route may have moved: no event tells.
    await this.#configure();
  }

  async #configure(): Promise<void> {
    if (this.#node === undefined) return;
    try {
      await this.#apply(this.#node);
      await this.#advance(this.#node);
    } catch (error) {
      this.#waitsFor = describeError(error);
      throw error;
    }
  }

  async #apply(node: OwnNode): Promise<void> {
    const { rollout, store } = this.#options;
    const facts = readNodeFacts(this.#options.kernel, this.#config.ifaceCanReach);
    const choice = chooseNodeAddress(facts, {
      node: node.name,
      families: [...this.#config.network.networks.keys()],
      prefer: this.#config,
      internalIps: node.internalIps,
      own: [this.#config.cni.bridge],
    });
    const wish = { name: node.name, config: this.#config.network, macs: publishedMacs(node) };
    this.#excessiveMtu = excessiveMtu(this.#config.network, choice.link);
    this.#tell(node.problems);
    const remembered = this.#remembered;
    const isHeard = remembered === undefined || store.hasSynced;
    // A store that hands out subnets does so to who has said where it is.
    if (node.podCidrs.size === 0 && remembered === undefined) {
      const podCidrs = this.#config.network.networks;
      store.publish(
        publicationOf(
          this.#config,
          rollout,
          node,
          describeLocalNode(facts, choice, { ...wish, podCidrs }),
          choice.reason,
          true,
        ),
      );
    }
    const podCidrs = remembered?.node.podCidrs ?? podCidrsOf(node, this.#config);
    const local = describeLocalNode(facts, choice, { ...wish, podCidrs });
    const before = this.#local;
    this.#local = local;
    if (before !== undefined && ipsOf(before) !== ipsOf(local)) this.#options.onAddressChange();
    await this.#bringUp(local, podCidrs, choice.reason);
    // An agent that has just begun in the middle of a change may still send to those by a former one.
    const isKnown = rollout.stage === 'settled' || store.hasSynced;
    const met = isKnown && rollout.hasMet(this.#options.network.peersNotBy(rollout.wanted).length);
    this.#publication = publicationOf(this.#config, rollout, node, local, choice.reason, met);
    // Only when it is known how the others are reached is it right what is said of that.
    if (!isHeard) return;
    store.publish(this.#publication);
    store.markAvailable();
    if (remembered === undefined) await this.#remember(node);
  }

  async #remember(node: OwnNode): Promise<void> {
    const { memory, networkText } = this.#options;
    await memory.keep({ networkText: networkText(), node, clusterMtu: this.#clusterMtu });
  }

  async #bringUp(local: LocalNode, podCidrs: ReadonlyMap<IpFamily, Cidr>, reason: string): Promise<void> {
    const { rollout, network } = this.#options;
    const { ways } = rollout;
    const least = Math.min(local.underlay.mtu, this.#remembered?.clusterMtu ?? Infinity);
    this.#clusterMtu = smallestMtu(least, this.#options.network.leases());
    const mtu = this.#mtuOf(local);
    const names = ways.backends.map(({ name }) => name);
    const state = [
      local.underlay,
      [...local.families],
      mtu,
      rollout.stage,
      names,
      rollout.settings.map(({ underlayMtu }) => underlayMtu),
    ];
    const wanted = JSON.stringify(state);
    if (wanted === this.#applied && this.#waitsFor === '') return;
    enableForwarding(podCidrs.keys());
    this.#attach(podCidrs, mtu);
    const { underlay } = local;
    const pathMtu = this.#pathMtuOf(local);
    await this.#setLocal(network, { ...local, underlay: { ...underlay, pathMtu } });
    this.#podCidrs = podCidrs;
    const subnetEnv = renderSubnetEnv(this.#config.network, podCidrs, mtu, this.#config.ipMasq);
    await Promise.all([
      installFile(this.#config.subnetFile, subnetEnv, 0o644),
      this.#applyRules(),
      this.#installPlugin(),
    ]);
    await this.#installConflist();
    this.#applied = wanted;
    this.#waitsFor = '';
    const ips = [...local.families.values()].map(({ ip }) => ip.toString());
    this.#options.logger.info(
      {
        podCidrs: [...podCidrs.values()].map(String),
        underlay: local.underlay.device,
        ips,
        reason,
        podMtu: mtu,
      },
      'pod network ready on this node',
    );
  }

  /** A new backend that this node cannot have is given up; what there was goes on. */
  async #setLocal(network: PodNetwork, local: LocalNode): Promise<void> {
    const { rollout } = this.#options;
    try {
      network.setLocal(local, rollout.ways);
    } catch (error) {
      if (rollout.stage !== 'preparing') throw error;
      await rollout.abandon(error);
      network.setLocal(local, rollout.ways);
      return;
    }
    await rollout.prepared();
  }

  #mtuOf(local: LocalNode): number {
    const { ways } = this.#options.rollout;
    return podMtu(ways.backends, { ...local, underlay: { ...local.underlay, mtu: this.#pathMtuOf(local) } });
  }

  #pathMtuOf({ underlay }: LocalNode): number {
    return this.#config.podMTU === 'cluster' ? this.#clusterMtu : underlay.mtu;
  }

  /** Pods that run follow a new MTU before anything larger or smaller is on the way. */
  #attach(podCidrs: ReadonlyMap<IpFamily, Cidr>, mtu: number): void {
    const { attachment } = this.#options;
    const changed = this.#podMtu !== undefined && this.#podMtu !== mtu;
    attachment.configure({ name: this.#config.cni.bridge, podCidrs: [...podCidrs.values()], mtu });
    if (changed) attachment.changeMtu(mtu);
    this.#podMtu = mtu;
  }

  /** Looks whether a change of backend may go on. */
  async #advance(node: OwnNode): Promise<void> {
    const { rollout, network, store } = this.#options;
    // As long as the other nodes are not known, none of them seems to need the former backend.
    if (this.#remembered !== undefined || !store.hasSynced) {
      if (rollout.stage !== 'settled') this.#queue.addAfter(CONFIGURE, SYNC_WAIT_MS);
      return;
    }
    const { moved, againInMs } = await rollout.advance({
      isPublished: store.isPublished,
      awaited: network.peersNotBy(rollout.wanted).length,
      unmet: [...network.leases()].filter(({ met }) => met === false).length,
      now: performance.now(),
    });
    this.#tell(node.problems);
    if (moved) this.#queue.add(CONFIGURE);
    else if (againInMs !== undefined) this.#queue.addAfter(CONFIGURE, againInMs);
  }

  #tell(ofNode: readonly FlatnetError[]): void {
    const { rollout, attachment } = this.#options;
    const stranded = strandedPods(attachment.stranded, this.#config.network);
    const own = [rollout.refused, this.#excessiveMtu, stranded, this.#silence()];
    const problems = [...ofNode, ...own].filter((problem) => problem !== undefined);
    const text = problems.map(describeError).join('\n');
    if (text === this.#told) return;
    this.#told = text;
    this.#options.onProblems(problems);
  }

  /** What it means that the store has not answered since the start. */
  #silence(): FlatnetError | undefined {
    const podCidrs = this.#remembered?.node.podCidrs;
    if (podCidrs === undefined || performance.now() - this.#since < SILENCE_MS) return undefined;
    const store = storeName(this.#config);
    return new FlatnetError(
      `${store} has not told this node's subnet since the agent was started: pods are served as before, from ${[...podCidrs.values()].join(' and ')}; what other nodes have changed is not known`,
      { code: 'STORE_AWAY', retryable: true, hint: `packets go on as they did; bring ${store} back` },
    );
  }

  async #applyRules(): Promise<void> {
    const { backends } = this.#options.rollout.ways;
    await this.#rules.apply(
      this.#podCidrs,
      backends.flatMap(({ tunnelPorts }) => tunnelPorts),
    );
  }

  async #installPlugin(): Promise<void> {
    const { config, pluginSource } = this.#options;
    const { binDir, pluginNames } = config.cni;
    const target = join(binDir, PLUGIN_NAME);
    if (pluginSource !== undefined) {
      for (const name of pluginNames) await installExecutable(pluginSource, join(binDir, name));
    } else if (!(await exists(target))) {
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
      chainedPlugins: cni.chainedPlugins,
    });
    const path = join(cni.confDir, cni.confFile);
    if (await installFile(path, conflist, 0o644))
      logger.info({ path }, 'conflist written: the runtime may start pods');
  }

  #onEvent(event: RouteEvent): void {
    if (event.kind === 'resync') this.#queue.addAfter(BRIDGE, 20);
    // An interface that was awaited, or a better one by what was asked for, may be there now.
    if (event.kind === 'address' && this.#waitsFor !== '') this.#queue.addAfter(CONFIGURE, 100);
    if (event.kind !== 'link' || event.link.name !== this.#options.config.cni.bridge) return;
    if (event.action === 'delete' || !event.link.up) this.#queue.addAfter(BRIDGE, 20);
  }
}

/** Throws POD_CIDR_MISSING while the node has not been given one of each family. */
function podCidrsOf(node: OwnNode, { network, store }: AgentConfig): ReadonlyMap<IpFamily, Cidr> {
  for (const family of network.networks.keys()) {
    if (node.podCidrs.has(family)) continue;
    const problem = node.problems.find(({ code }) => code === 'INVALID_POD_CIDR');
    if (problem !== undefined) throw problem;
    if (store.etcd !== undefined) {
      throw new FlatnetError(`node ${node.name} has no IPv${family} subnet of etcd yet`, {
        code: 'POD_CIDR_MISSING',
        retryable: true,
        hint: 'it takes a lease by itself; the log says what keeps it from that',
      });
    }
    throw new FlatnetError(`node ${node.name}: spec.podCIDRs has no IPv${family} range yet`, {
      code: 'POD_CIDR_MISSING',
      retryable: true,
      hint: 'the controller manager assigns it: it needs --allocate-node-cidrs and --cluster-cidr',
    });
  }
  return node.podCidrs;
}

const storeName = ({ store }: AgentConfig): string => (store.etcd === undefined ? 'the API server' : 'etcd');

/** Whether a node of this network may have these. */
const isOf = (podCidrs: ReadonlyMap<IpFamily, Cidr>, { networks }: AgentConfig['network']): boolean =>
  podCidrs.size === networks.size &&
  [...podCidrs].every(([family, podCidr]) => networks.get(family)?.contains(podCidr) === true);

const ipsOf = ({ families }: LocalNode): string =>
  [...families.values()].map(({ ip }) => ip.toString()).join();
