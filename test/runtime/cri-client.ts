import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { BUSYBOX_IMAGE } from './busybox-image.ts';

export interface PortMapping {
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly container_port: number;
  readonly host_port: number;
  readonly host_ip?: string;
}

export interface PodWish {
  readonly name: string;
  /** kubelet counts it up when it tries again. */
  readonly attempt?: number;
  readonly portMappings?: readonly PortMapping[];
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface RuntimeCondition {
  readonly type: string;
  readonly status: boolean;
  readonly message: string;
}

type Method = (
  request: object,
  options: grpc.CallOptions,
  callback: (error: grpc.ServiceError | null, answer: unknown) => void,
) => void;

const CALL_TIMEOUT_MS = 60_000;

/** A kubelet's side of the Container Runtime Interface. Calls reject with grpc's ServiceError. */
export class CriClient {
  readonly #service: grpc.Client;

  constructor(socketPath: string) {
    const definition = loadSync(join(import.meta.dirname, 'cri.proto'), {
      keepCase: true,
      defaults: true,
      enums: String,
      longs: Number,
    });
    const { runtime } = grpc.loadPackageDefinition(definition) as unknown as {
      runtime: { v1: { RuntimeService: grpc.ServiceClientConstructor } };
    };
    this.#service = new runtime.v1.RuntimeService(`unix:${socketPath}`, grpc.credentials.createInsecure());
  }

  async conditions(): Promise<readonly RuntimeCondition[]> {
    const { status } = await this.#call<{ status: { conditions: RuntimeCondition[] } }>('Status', {});
    return status.conditions;
  }

  /** Returns the sandbox's id. */
  async runPod(wish: PodWish): Promise<string> {
    const config = sandboxConfig(wish);
    return (await this.#call<{ pod_sandbox_id: string }>('RunPodSandbox', { config })).pod_sandbox_id;
  }

  async addresses(pod: string): Promise<readonly string[]> {
    const { status } = await this.#call<{
      status: { network: { ip: string; additional_ips: { ip: string }[] } };
    }>('PodSandboxStatus', { pod_sandbox_id: pod });
    return [status.network.ip, ...status.network.additional_ips.map(({ ip }) => ip)];
  }

  async stopPod(pod: string): Promise<void> {
    await this.#call('StopPodSandbox', { pod_sandbox_id: pod });
  }

  async removePod(pod: string): Promise<void> {
    await this.#call('RemovePodSandbox', { pod_sandbox_id: pod });
  }

  async pods(): Promise<string[]> {
    const { items } = await this.#call<{ items: { id: string }[] }>('ListPodSandbox', {});
    return items.map(({ id }) => id);
  }

  /** Starts a container of the pod, which runs the command; returns its id. */
  async runContainer(pod: string, wish: PodWish, name: string, command: readonly string[]): Promise<string> {
    const { container_id: container } = await this.#call<{ container_id: string }>('CreateContainer', {
      pod_sandbox_id: pod,
      config: { metadata: { name, attempt: 0 }, image: { image: BUSYBOX_IMAGE }, command },
      sandbox_config: sandboxConfig(wish),
    });
    await this.#call('StartContainer', { container_id: container });
    return container;
  }

  /** Runs a program in a container; rejects when it fails. Returns what it printed. */
  async exec(container: string, ...cmd: string[]): Promise<string> {
    const answer = await this.#call<{ stdout: Buffer; stderr: Buffer; exit_code: number }>('ExecSync', {
      container_id: container,
      cmd,
      timeout: 20,
    });
    if (answer.exit_code === 0) return answer.stdout.toString();
    throw new Error(`${cmd.join(' ')} ended with ${answer.exit_code}: ${answer.stderr.toString()}`);
  }

  close(): void {
    this.#service.close();
  }

  async #call<T>(method: string, request: object): Promise<T> {
    const invoke = (this.#service as unknown as Record<string, Method>)[method];
    return new Promise((resolve, reject) => {
      invoke?.call(this.#service, request, { deadline: Date.now() + CALL_TIMEOUT_MS }, (error, answer) => {
        if (error === null) resolve(answer as T);
        else reject(error);
      });
    });
  }
}

const sandboxConfig = ({ name, attempt = 0, portMappings = [], annotations = {} }: PodWish): object => ({
  metadata: { name, uid: `uid-${name}`, namespace: 'default', attempt },
  hostname: name,
  port_mappings: portMappings,
  annotations,
});
