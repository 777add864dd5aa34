import { writeFileSync } from 'node:fs';
import type { Node } from 'kubernetes-types/core/v1.js';
import { ApiClient } from '../../cluster/api-client.ts';
import { NODES } from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';
import { sleep } from '../../timing/backoff.ts';
import { planFabric, type AttachmentPlan } from '../fabric/plan.ts';
import { makeLayers } from '../images/layers.ts';
import { Kubelet } from '../kubelet/kubelet.ts';
import { PodObjects } from '../kubelet/pod-objects.ts';
import { ServiceView } from '../kubelet/service-view.ts';
import { StartSlots } from '../kubelet/start-slots.ts';
import { installationOf, type Installation } from '../node/installation.ts';
import { LabNode } from '../node/lab-node.ts';
import { labFolder, stateDirectory, type LabFolder } from '../state/lab-folder.ts';
import { nodeNetns, OUTSIDE } from '../state/lab-name.ts';
import type { LabOptions } from '../state/lab-options.ts';
import { writeLabRecord, type LabRecord, type NodeRecord } from '../state/lab-record.ts';
import type { ProcessIdentity } from '../state/process-identity.ts';
import { applyAddons, dnsAddress } from './addons.ts';
import { agentConfigText } from './agent-config.ts';
import { keepAgent, NODE_AGENT_CONFIG, NODE_KUBECONFIG } from './agent-process.ts';
import { ADMIN, CLUSTER_DOMAIN, type ControlPlane } from './control-plane.ts';
import { startEmbedded } from './embedded-control-plane.ts';
import { kubeconfigText } from './kubeconfig-text.ts';
import { startReal } from './real-control-plane.ts';
import { whyNotReady } from './why-not-ready.ts';

export interface LabDaemonOptions {
  readonly record: LabRecord;
  /** Listening socket on the host's 127.0.0.1. */
  readonly loopbackFd: number;
  /** Command line of this program: the Node.js executable and the script. */
  readonly flatnet: readonly string[];
  readonly logger: Logger;
  /** What is being done, for the person who waits. */
  readonly onProgress: (what: string) => void;
  /** What keeps nodes from being Ready, said anew about every second. */
  readonly onWaiting: (reasons: readonly string[]) => void;
}

/** Pods that start at the same time, over all nodes: more only makes each of them slower. */
const START_SLOTS = 6;
const STOP_PATIENCE_MS = 500;
const ASK_EVERY_MS = 1000;
/** Nodes are alike: a few tell what all have. */
const MOST_ASKED = 3;
const NODE_RESOLV_CONF = "# The lab's underlay leads nowhere else: there is no name server on it.\n";

/** Paths that must be seen inside of nodes and containers, wherever the machine has mounted them. */
const NEEDED = ['/usr/bin', '/bin', '/lib', '/etc'];

/** Folders of the machine that containers see empty. */
const HIDDEN = ['/tmp', '/run', '/root', '/home'];

/** Everything of a lab that runs: control plane, nodes with their agents, kubelets, add-ons. */
export class LabDaemon {
  readonly #options: LabDaemonOptions;
  readonly #lab: LabOptions;
  readonly #folder: LabFolder;
  readonly #nodes = new Map<string, LabNode>();
  readonly #running: Promise<void>[] = [];
  readonly #installation: Installation;
  #record: LabRecord;
  #controlPlane: ControlPlane | undefined;

  constructor(options: LabDaemonOptions) {
    this.#options = options;
    this.#record = options.record;
    this.#lab = options.record.options;
    this.#folder = labFolder(this.#lab.name);
    this.#installation = installationOf(options.flatnet);
  }

  /** Resolves when every node has been Ready. Throws what went wrong; the caller then calls `stop`. */
  async start(signal: AbortSignal): Promise<void> {
    const { logger, onProgress } = this.#options;
    const plan = planFabric(this.#lab);
    const apiAddress = plan.apiAddresses[0]?.toString() ?? '';
    onProgress('starting the control plane');
    const [controlPlane] = await Promise.all([
      this.#startControlPlane(apiAddress),
      makeLayers({
        folder: this.#folder.images,
        flatnet: this.#installation.inside,
        hidden: [...HIDDEN, stateDirectory()],
      }),
    ]);
    this.#controlPlane = controlPlane;
    this.#writeKubeconfig(controlPlane);
    const client = new ApiClient(controlPlane.access, 'flatnet-lab');
    this.#running.push(controlPlane.runControllers(signal));
    const services = new ServiceView(client, logger);
    this.#running.push(services.run(signal));
    onProgress(`starting ${this.#lab.nodes} ${this.#lab.nodes === 1 ? 'node' : 'nodes'}`);
    const shared = {
      client,
      services,
      slots: new StartSlots(START_SLOTS),
      objects: new PodObjects(client, controlPlane.certificateAuthority),
    };
    const attachments = plan.attachments.filter(({ name }) => name !== OUTSIDE);
    await Promise.all(attachments.map(async (plan) => this.#startNode(plan, attachments, shared, signal)));
    const replicas = Math.min(2, this.#lab.nodes);
    await applyAddons(client, this.#serviceCidrs(), replicas, signal);
    onProgress('waiting for the nodes to be Ready');
    await this.#waitForNodes(client, signal);
    this.#update({ phase: 'running' });
  }

  /** Ends every process of the nodes. The namespaces' names and the files are left to `down`. */
  async stop(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map(async (node) => node.stop()));
    // The process ends right after this; a connection that lingers shall not hold it.
    const settled = Promise.allSettled([this.#controlPlane?.stop(), ...this.#running]);
    await Promise.race([settled, sleep(STOP_PATIENCE_MS)]);
  }

  async #startControlPlane(apiAddress: string): Promise<ControlPlane> {
    const { loopbackFd, logger } = this.#options;
    return this.#lab.controlPlane === 'real'
      ? startReal(this.#lab, apiAddress, loopbackFd, this.#folder.root, logger)
      : startEmbedded(this.#lab, apiAddress, loopbackFd, logger);
  }

  async #startNode(
    plan: AttachmentPlan,
    all: readonly AttachmentPlan[],
    shared: { client: ApiClient; services: ServiceView; slots: StartSlots; objects: PodObjects },
    signal: AbortSignal,
  ): Promise<void> {
    const { name } = plan;
    const addresses = plan.addresses.map(({ ip }) => ip.toString());
    const controlPlane = this.#controlPlane as ControlPlane;
    const node = await LabNode.start({
      name,
      netns: nodeNetns(this.#lab.name, name),
      folder: this.#folder.nodeFolder(name),
      images: this.#folder.images,
      stateDirectory: stateDirectory(),
      files: this.#nodeFiles(name, all, controlPlane),
      installation: this.#installation,
      needs: NEEDED,
    });
    this.#nodes.set(name, node);
    this.#setNode({ name, addresses, init: node.init, agentRestarts: 0 });
    const { logger } = this.#options;
    const onChange = (agent: ProcessIdentity | undefined, agentRestarts: number): void =>
      this.#setNode({ name, addresses, init: node.init, agent, agentRestarts });
    const logFile = this.#folder.agentLog(name);
    this.#running.push(
      keepAgent({ node, flatnet: this.#installation.inside, logFile, logger, onChange }, signal),
    );
    const kubelet = new Kubelet(
      {
        ...shared,
        node,
        addresses,
        dns: {
          clusterDns: this.#serviceCidrs().map(dnsAddress),
          clusterDomain: CLUSTER_DOMAIN,
          nodeResolvConf: NODE_RESOLV_CONF,
        },
        serving: controlPlane.servingCertificate(name, addresses),
        clientAuthority: controlPlane.certificateAuthority,
        logger: logger.child({ node: name }),
      },
      signal,
    );
    this.#running.push(kubelet.run());
  }

  #nodeFiles(name: string, all: readonly AttachmentPlan[], controlPlane: ControlPlane) {
    const { certificateAuthority, server } = controlPlane;
    const pair = controlPlane.clientCertificate(`system:node:${name}`, ['system:nodes', ...ADMIN.groups]);
    const kubeconfig = kubeconfigText({ name: this.#lab.name, server, certificateAuthority, ...pair });
    const hosts = all.flatMap(({ name, addresses }) =>
      addresses.map(({ ip }) => `${ip.toString()}\t${name}`),
    );
    return new Map([
      [NODE_KUBECONFIG, { content: kubeconfig, mode: 0o600 }],
      [NODE_AGENT_CONFIG, { content: agentConfigText(this.#lab) }],
      ['/etc/hostname', { content: `${name}\n` }],
      ['/etc/hosts', { content: ['127.0.0.1\tlocalhost', '::1\tlocalhost', ...hosts, ''].join('\n') }],
      ['/etc/resolv.conf', { content: NODE_RESOLV_CONF }],
    ]);
  }

  #writeKubeconfig(controlPlane: ControlPlane): void {
    const text = kubeconfigText({
      name: this.#lab.name === 'lab' ? 'flatnet' : `flatnet-${this.#lab.name}`,
      server: `https://127.0.0.1:${this.#record.apiPort}`,
      certificateAuthority: controlPlane.certificateAuthority,
      ...controlPlane.clientCertificate(ADMIN.user, ADMIN.groups),
    });
    writeFileSync(this.#folder.kubeconfig, text, { mode: 0o600 });
  }

  async #waitForNodes(client: ApiClient, signal: AbortSignal): Promise<void> {
    let told = -1;
    let askAt = Date.now() + ASK_EVERY_MS;
    let telling = Promise.resolve();
    while (!signal.aborted) {
      const { items } = await client.list(NODES);
      const isReady = new Set(items.filter(hasBecomeReady).map(({ metadata }) => metadata?.name));
      const ready = isReady.size;
      if (ready !== told) this.#options.onProgress(`nodes Ready: ${ready} of ${this.#lab.nodes}`);
      told = ready;
      if (ready >= this.#lab.nodes) return;
      if (Date.now() > askAt) {
        askAt = Date.now() + ASK_EVERY_MS;
        const waiting = this.#record.nodes.filter(({ name }) => !isReady.has(name));
        // Beside: nodes may be Ready before those that are not have answered.
        telling = telling.then(async () => this.#tellWhy(waiting));
      }
      await sleep(50, signal);
    }
  }

  async #tellWhy(waiting: readonly NodeRecord[]): Promise<void> {
    const asked = waiting.slice(0, MOST_ASKED);
    const reasons = await Promise.all(
      asked.map(async (node) => whyNotReady(node, this.#folder.agentLog(node.name))),
    );
    this.#options.onWaiting(reasons.filter((reason) => reason !== undefined));
  }

  #serviceCidrs(): string[] {
    return [this.#lab.serviceCidr, ...(this.#lab.ipv6 ? [this.#lab.serviceCidrV6] : [])];
  }

  #setNode(node: NodeRecord): void {
    const others = this.#record.nodes.filter(({ name }) => name !== node.name);
    this.#update({ nodes: [...others, node].sort(byNumber) });
  }

  #update(change: Partial<LabRecord>): void {
    this.#record = { ...this.#record, ...change };
    writeLabRecord(this.#record);
  }
}

function hasBecomeReady({ status }: Node): boolean {
  return (status?.conditions ?? []).some(({ type, status }) => type === 'Ready' && status === 'True');
}

function byNumber(a: NodeRecord, b: NodeRecord): number {
  return a.name.localeCompare(b.name, undefined, { numeric: true });
}
