import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { ApiClient } from '../../cluster/api-client.ts';
import { NAMESPACES } from '../../cluster/resource-type.ts';
import type { Logger } from '../../log/logger.ts';
import { retry } from '../../timing/backoff.ts';
import { CertificateAuthority, type KeyPair } from '../apiserver/pki/certificate-authority.ts';
import { startControllers } from '../controllers/controllers.ts';
import type { LabOptions } from '../state/lab-options.ts';
import { accessWith, ADMIN, API_PORT, CLUSTER_DOMAIN, type ControlPlane } from './control-plane.ts';
import { controllerSettings } from './controller-settings.ts';
import { findAssets, type Assets } from './kubebuilder-assets.ts';
import { kubeconfigText } from './kubeconfig-text.ts';
import { Program } from './program-process.ts';
import { Cidr } from '../../net/cidr.ts';

/** In the fabric's own namespace, so labs do not collide. */
const ETCD_CLIENT = 'http://127.0.0.1:2379';
const ETCD_PEER = 'http://127.0.0.1:2380';
const START_PATIENCE_TRIES = 200;

/** kube-apiserver and etcd of $KUBEBUILDER_ASSETS; their controllers where they are there, else those of the lab. */
export async function startReal(
  options: LabOptions,
  apiAddress: string,
  loopbackFd: number,
  root: string,
  logger: Logger,
): Promise<ControlPlane> {
  const assets = findAssets(process.env['KUBEBUILDER_ASSETS']);
  const plane = new RealControlPlane(options, apiAddress, join(root, 'control-plane'), assets, logger);
  forward(loopbackFd, apiAddress);
  await plane.start();
  return plane;
}

class RealControlPlane implements ControlPlane {
  readonly access;
  readonly server: string;
  readonly #authority = CertificateAuthority.create('kubernetes-ca');
  readonly #options: LabOptions;
  readonly #address: string;
  readonly #folder: string;
  readonly #assets: Assets;
  readonly #logger: Logger;
  readonly #programs: Program[] = [];

  constructor(options: LabOptions, address: string, folder: string, assets: Assets, logger: Logger) {
    this.#options = options;
    this.#address = address;
    this.#folder = folder;
    this.#assets = assets;
    this.#logger = logger;
    this.server = `https://${address}:${API_PORT}`;
    const admin = this.clientCertificate(ADMIN.user, ADMIN.groups);
    this.access = accessWith(this.server, this.certificateAuthority, admin);
  }

  get certificateAuthority(): string {
    return this.#authority.certificate;
  }

  clientCertificate(user: string, groups: readonly string[]): KeyPair {
    return this.#authority.issue({ commonName: user, organizations: groups, usage: 'client' });
  }

  servingCertificate(name: string, addresses: readonly string[]): KeyPair {
    return this.#authority.issue({
      commonName: `system:node:${name}`,
      usage: 'server',
      names: [name, ...addresses],
    });
  }

  /** Resolves when the API server serves namespaces. */
  async start(): Promise<void> {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#writeKeys();
    this.#run('etcd', this.#assets.etcd, [
      `--data-dir=${join(this.#folder, 'etcd')}`,
      `--listen-client-urls=${ETCD_CLIENT}`,
      `--advertise-client-urls=${ETCD_CLIENT}`,
      `--listen-peer-urls=${ETCD_PEER}`,
      `--initial-advertise-peer-urls=${ETCD_PEER}`,
      `--initial-cluster=default=${ETCD_PEER}`,
      // The lab lives no longer than the machine runs; nothing has to survive a power failure.
      '--unsafe-no-fsync',
    ]);
    this.#run('kube-apiserver', this.#assets.apiServer, this.#apiServerFlags());
    const client = new ApiClient(this.access, 'flatnet-lab');
    await retry(
      async () => {
        for (const program of this.#programs) program.throwIfEnded();
        await client.get(NAMESPACES, { name: 'kube-system' });
      },
      {
        initialMs: 100,
        maxMs: 500,
        attempts: START_PATIENCE_TRIES,
        shouldRetry: () => this.#programs.every(({ ended }) => !ended),
      },
    );
    await client.close();
  }

  async runControllers(signal: AbortSignal): Promise<void> {
    const { controllerManager, scheduler } = this.#assets;
    if (controllerManager === undefined || scheduler === undefined) {
      this.#logger.info(
        'no kube-controller-manager and kube-scheduler: the controllers of the lab take their place',
      );
      const client = new ApiClient(this.access, 'flatnet-controllers');
      const settings = controllerSettings(this.#options, this.certificateAuthority, this.#logger);
      await startControllers(client, settings, signal);
      return;
    }
    this.#run('kube-controller-manager', controllerManager, this.#controllerManagerFlags());
    this.#run('kube-scheduler', scheduler, [
      `--kubeconfig=${this.#kubeconfig('system:kube-scheduler')}`,
      '--leader-elect=false',
    ]);
  }

  async stop(): Promise<void> {
    await Promise.all(this.#programs.toReversed().map(async (program) => program.stop()));
  }

  #run(name: string, path: string, flags: readonly string[]): void {
    this.#programs.push(new Program(name, path, flags, join(this.#folder, `${name}.log`), this.#logger));
  }

  #file(name: string): string {
    return join(this.#folder, name);
  }

  #writeKeys(): void {
    const serving = this.#authority.issue({
      commonName: 'kube-apiserver',
      usage: 'server',
      names: [
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        'localhost',
        '127.0.0.1',
        this.#address,
        `kubernetes.default.svc.${CLUSTER_DOMAIN}`,
        ...this.#serviceCidrs().map((range) => Cidr.parse(range).at(1).toString()),
      ],
    });
    const kubeletClient = this.clientCertificate('kube-apiserver-kubelet-client', ADMIN.groups);
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const files = {
      'ca.crt': this.certificateAuthority,
      'ca.key': this.#authority.exportKey(),
      'apiserver.crt': serving.certificate,
      'apiserver.key': serving.key,
      'kubelet-client.crt': kubeletClient.certificate,
      'kubelet-client.key': kubeletClient.key,
      'sa.key': privateKey.export({ type: 'pkcs8', format: 'pem' }),
      'sa.pub': publicKey.export({ type: 'spki', format: 'pem' }),
    };
    for (const [name, content] of Object.entries(files))
      writeFileSync(this.#file(name), content, { mode: 0o600 });
  }

  #serviceCidrs(): string[] {
    return [this.#options.serviceCidr, ...(this.#options.ipv6 ? [this.#options.serviceCidrV6] : [])];
  }

  #kubeconfig(user: string): string {
    const pair = this.clientCertificate(user, []);
    const path = this.#file(`${user.replaceAll(':', '-')}.kubeconfig`);
    const { server, certificateAuthority } = this;
    writeFileSync(path, kubeconfigText({ name: 'lab', server, certificateAuthority, ...pair }), {
      mode: 0o600,
    });
    return path;
  }

  #apiServerFlags(): string[] {
    return [
      `--etcd-servers=${ETCD_CLIENT}`,
      `--advertise-address=${this.#address}`,
      `--secure-port=${API_PORT}`,
      `--service-cluster-ip-range=${this.#serviceCidrs().join(',')}`,
      `--client-ca-file=${this.#file('ca.crt')}`,
      `--tls-cert-file=${this.#file('apiserver.crt')}`,
      `--tls-private-key-file=${this.#file('apiserver.key')}`,
      `--kubelet-certificate-authority=${this.#file('ca.crt')}`,
      `--kubelet-client-certificate=${this.#file('kubelet-client.crt')}`,
      `--kubelet-client-key=${this.#file('kubelet-client.key')}`,
      '--kubelet-preferred-address-types=InternalIP,Hostname',
      `--service-account-issuer=https://kubernetes.default.svc.${CLUSTER_DOMAIN}`,
      `--service-account-key-file=${this.#file('sa.pub')}`,
      `--service-account-signing-key-file=${this.#file('sa.key')}`,
      '--authorization-mode=Node,RBAC',
      '--allow-privileged=true',
    ];
  }

  #controllerManagerFlags(): string[] {
    const podCidrs = [this.#options.podCidr, ...(this.#options.ipv6 ? [this.#options.podCidrV6] : [])];
    return [
      `--kubeconfig=${this.#kubeconfig('system:kube-controller-manager')}`,
      '--leader-elect=false',
      '--allocate-node-cidrs=true',
      `--cluster-cidr=${podCidrs.join(',')}`,
      `--service-cluster-ip-range=${this.#serviceCidrs().join(',')}`,
      `--root-ca-file=${this.#file('ca.crt')}`,
      `--service-account-private-key-file=${this.#file('sa.key')}`,
      `--cluster-signing-cert-file=${this.#file('ca.crt')}`,
      `--cluster-signing-key-file=${this.#file('ca.key')}`,
    ];
  }
}

/** kube-apiserver listens on the fabric alone; what arrives on the host's loopback is passed on to it. */
function forward(loopbackFd: number, address: string): void {
  const server = createServer((from) => {
    const to = connect({ host: address, port: API_PORT });
    from.pipe(to).pipe(from);
    from.on('error', () => to.destroy());
    to.on('error', () => from.destroy());
  });
  server.listen({ fd: loopbackFd });
}
