import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ApiClient } from '../../cluster/api-client.ts';
import { loadKubeconfig } from '../../cluster/kubeconfig.ts';
import { NODES } from '../../cluster/resource-type.ts';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { listenTcp } from '../../kernel/netns/listen.ts';
import { withNetns } from '../../kernel/netns/netns.ts';
import { ApiServer } from '../../lab/apiserver/api-server.ts';
import { CertificateAuthority } from '../../lab/apiserver/pki/certificate-authority.ts';
import { Ip } from '../../net/ip.ts';
import { sleep } from '../../timing/backoff.ts';
import { BenchMachine } from './bench-machine.ts';

const TOKEN = 'bench';
const NODE_NAME = 'bench-node';
const READY_TIMEOUT_MS = 20_000;

export interface BenchAgentOptions {
  readonly prefix: string;
  /** The cluster's range of pods, and the node's own. */
  readonly network: string;
  readonly podCidr: string;
  /** Makes what the agent finds at its start. */
  readonly prepare?: (client: ApiClient) => Promise<void>;
}

/** The built agent on a node of a cluster whose API server stands beside it. */
export class BenchAgent {
  readonly machine: BenchMachine;
  readonly client: ApiClient;
  readonly #server: ApiServer;
  #process: ChildProcess | undefined;
  #startedAt = 0;

  private constructor(machine: BenchMachine, server: ApiServer, client: ApiClient) {
    this.machine = machine;
    this.#server = server;
    this.client = client;
  }

  /** Returns when pods can be connected. */
  static async start(options: BenchAgentOptions): Promise<BenchAgent> {
    const machine = new BenchMachine(options.prefix);
    const { folder, apiHost, fabric } = machine;
    const authority = CertificateAuthority.create();
    const server = await ApiServer.start({
      listen: [
        { fd: listenTcp(Ip.parse(apiHost), 6443, { netns: fabric.fd }) },
        { host: '127.0.0.1', port: 0 },
      ],
      advertise: { host: apiHost, port: 6443 },
      authority,
      serviceCidrs: ['10.96.0.0/16'],
      tokens: new Map([[TOKEN, { username: 'admin', groups: ['system:masters'] }]]),
    });
    const kubeconfig = (name: string, address: string): string => {
      const path = join(folder, name);
      writeFileSync(path, renderKubeconfig(`https://${address}`, authority.certificate));
      return path;
    };
    const local = kubeconfig('kubeconfig-here', `127.0.0.1:${server.addresses[1]?.port ?? 0}`);
    const client = new ApiClient(await loadKubeconfig(local));
    const agent = new BenchAgent(machine, server, client);
    try {
      await agent.#register(options.podCidr);
      await options.prepare?.(client);
      agent.#startedAt = performance.now();
      agent.#process = startAgent(machine, kubeconfig('kubeconfig', `${apiHost}:6443`), options.network);
      await agent.#ready();
      return agent;
    } catch (error) {
      await agent.close();
      throw error;
    }
  }

  /** Milliseconds since the agent was started. */
  get ageMs(): number {
    return performance.now() - this.#startedAt;
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async close(): Promise<void> {
    if (this.#process !== undefined && this.#process.exitCode === null) {
      this.#process.kill('SIGTERM');
      await once(this.#process, 'exit');
    }
    await this.client.close();
    await this.#server.close();
    this.machine.close();
  }

  async #register(podCidr: string): Promise<void> {
    await this.client.create(NODES, {
      metadata: { name: NODE_NAME },
      spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
    });
    const body = { status: { addresses: [{ type: 'InternalIP', address: this.machine.ip }] } };
    await this.client.patch(
      NODES,
      { name: NODE_NAME },
      { type: 'strategic', body },
      { subresource: 'status' },
    );
  }

  /** The conflist is written when pods can be connected. */
  async #ready(): Promise<void> {
    const { folder } = this.machine;
    const deadline = Date.now() + READY_TIMEOUT_MS;
    while (!existsSync(join(folder, 'net.d', '10-flatnet.conflist'))) {
      if (Date.now() > deadline || this.#process?.exitCode !== null) {
        throw new FlatnetError(
          `the agent does not get ready: ${readFileSync(join(folder, 'agent.log'), 'utf8')}`,
          {
            code: 'AGENT_NOT_READY',
          },
        );
      }
      await sleep(20);
    }
  }
}

function startAgent({ folder, netns }: BenchMachine, kubeconfig: string, network: string): ChildProcess {
  const config = join(folder, 'agent.yaml');
  const settings = {
    apiVersion: 'flatnet.dev/v1alpha1',
    kind: 'AgentConfiguration',
    network: { Network: network, Backend: { Type: 'vxlan' } },
    subnetFile: join(folder, 'subnet.env'),
    serviceCIDRs: ['10.96.0.0/16'],
    cni: {
      confDir: join(folder, 'net.d'),
      confFile: '10-flatnet.conflist',
      binDir: join(folder, 'bin'),
      dataDir: join(folder, 'networks'),
      socketPath: join(folder, 'cni.sock'),
    },
  };
  writeFileSync(config, JSON.stringify(settings));
  const log = openSync(join(folder, 'agent.log'), 'a');
  const script = join(dirname(process.argv[1] ?? ''), 'flatnet.js');
  const args = [script, 'agent', '--node-name', NODE_NAME, '--kubeconfig', kubeconfig, '--config', config];
  return withNetns(netns.fd, () => spawn(process.execPath, args, { stdio: ['ignore', log, log] }));
}

const renderKubeconfig = (server: string, certificate: string): string =>
  JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'bench',
    clusters: [
      {
        name: 'bench',
        cluster: { server, 'certificate-authority-data': Buffer.from(certificate).toString('base64') },
      },
    ],
    users: [{ name: 'admin', user: { token: TOKEN } }],
    contexts: [{ name: 'bench', context: { cluster: 'bench', user: 'admin' } }],
  });
