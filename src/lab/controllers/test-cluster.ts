import type { Node, Pod } from 'kubernetes-types/core/v1.js';
import { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import { Informer } from '../../cluster/informer.ts';
import { refOf } from '../../cluster/kube-object.ts';
import { LEASES, NODES, PODS } from '../../cluster/resource-type.ts';
import { createLogger } from '../../log/logger.ts';
import { Cidr } from '../../net/cidr.ts';
import { ApiServer } from '../apiserver/api-server.ts';
import { startControllers } from './controllers.ts';

/** Only for tests: API server, controllers, and kubelets that pretend to run pods. */
export class TestCluster {
  readonly client: ApiClient;
  /** Pods of these images never become ready. */
  readonly brokenImages = new Set<string>();
  /** Nodes whose kubelet has stopped. */
  readonly deadNodes = new Set<string>();
  readonly #abort = new AbortController();
  readonly #server: ApiServer;
  readonly #running: Promise<unknown>[] = [];
  readonly #pods: Informer<Pod, Pod>;
  #addresses = 0;

  private constructor(server: ApiServer, client: ApiClient, graceMs: number) {
    this.#server = server;
    this.client = client;
    const logger = createLogger('test', process.env['FLATNET_LOG_LEVEL'] ?? 'error');
    const podCidrs = [
      { range: Cidr.parse('10.244.0.0/22'), nodePrefixLength: 24 },
      { range: Cidr.parse('fd00:10:244::/56'), nodePrefixLength: 64 },
    ];
    const options = { podCidrs, rootCertificate: 'ROOT', nodeMonitorGraceMs: graceMs, logger };
    this.#running.push(startControllers(client, options, this.#abort.signal));
    this.#pods = new Informer<Pod, Pod>(client, PODS, { project: (pod) => pod, logger });
    const report = (pod: Pod): void => void this.#runPod(pod).catch(() => undefined);
    this.#pods.subscribe({ added: report, updated: report });
    this.#running.push(this.#pods.run(this.#abort.signal));
  }

  static async start(graceMs = 40_000): Promise<TestCluster> {
    const server = await ApiServer.start({
      listen: [{ host: '127.0.0.1', port: 0 }],
      advertise: { host: '127.0.0.1' },
      serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
    });
    const { certificate, key } = server.issueClientCertificate('admin', ['system:masters']);
    const client = new ApiClient({
      server: `https://127.0.0.1:${server.addresses[0]?.port ?? 0}`,
      certificateAuthority: server.authority.certificate,
      namespace: 'default',
      credentials: async () => ({ certificate, key }),
    });
    return new TestCluster(server, client, graceMs);
  }

  async stop(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
    await this.client.close();
    await this.#server.close();
  }

  async addNode(name: string, extra: Partial<Node> = {}): Promise<Node> {
    const node = await this.client.create(NODES, { metadata: { name }, ...extra });
    const now = new Date().toISOString();
    const conditions = [{ type: 'Ready', status: 'True', lastHeartbeatTime: now, lastTransitionTime: now }];
    await this.client.patch(
      NODES,
      { name },
      { type: 'merge', body: { status: { conditions } } },
      { subresource: 'status' },
    );
    return node;
  }

  /** As a kubelet does that lives: renews its lease and says that the node is ready. */
  async beat(name: string): Promise<void> {
    const renewTime = new Date().toISOString().replace('Z', '000Z');
    const ref = { namespace: 'kube-node-lease', name };
    try {
      await this.client.patch(LEASES, ref, { type: 'merge', body: { spec: { renewTime } } });
    } catch (error) {
      if (!hasStatus(error, 404)) throw error;
      await this.client.create(LEASES, { metadata: ref, spec: { holderIdentity: name, renewTime } });
    }
    const condition = { type: 'Ready', status: 'True', lastHeartbeatTime: new Date().toISOString() };
    const body = { status: { conditions: [condition] } };
    await this.client.patch(NODES, { name }, { type: 'strategic', body }, { subresource: 'status' });
  }

  async #runPod(pod: Pod): Promise<void> {
    const node = pod.spec?.nodeName;
    if (node === undefined || this.deadNodes.has(node)) return;
    if (pod.metadata?.deletionTimestamp !== undefined) {
      await this.client.delete(PODS, refOf(pod), { gracePeriodSeconds: 0 });
      return;
    }
    if (pod.status?.podIP !== undefined) return;
    this.#addresses += 1;
    const index = this.#addresses;
    const podIP = `10.244.${index >> 8}.${index & 255}`;
    const isReady = !pod.spec?.containers.some(({ image = '' }) => this.brokenImages.has(image));
    const lastTransitionTime = new Date().toISOString();
    const conditions = [{ type: 'Ready', status: isReady ? 'True' : 'False', lastTransitionTime }];
    const podIPs = [{ ip: podIP }, { ip: `fd00:10:244::${index.toString(16)}` }];
    const body = { status: { phase: 'Running', podIP, podIPs, conditions } };
    await this.client.patch(PODS, refOf(pod), { type: 'strategic', body }, { subresource: 'status' });
  }
}
