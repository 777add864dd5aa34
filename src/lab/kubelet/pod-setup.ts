import { randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Pod } from 'kubernetes-types/core/v1.js';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';
import { bandwidthOf } from './bandwidth.ts';
import type { Attachment, CniRuntime } from './cni-runtime.ts';
import { podResolvConf } from './dns-config.ts';
import { podHostsFile } from './hosts-file.ts';
import { podHostname, type NodeContext } from './pod-context.ts';
import { Sandbox } from './sandbox.ts';
import type { PodVolumes } from './volumes.ts';

/** A pod's sandbox, attached to the network. */
export interface PodSandbox {
  readonly sandbox: Sandbox;
  readonly attachment: Attachment | undefined;
  readonly podIps: readonly string[];
}

const NOT_READY =
  'network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized';

/** Makes sandboxes and takes them away; failures become Events and are tried again. */
export class PodSetup {
  readonly #shared: NodeContext;
  readonly #cni: CniRuntime;

  constructor(shared: NodeContext, cni: CniRuntime) {
    this.#shared = shared;
    this.#cni = cni;
  }

  /** Volumes, then the sandbox with its network. Undefined when the signal was aborted before. */
  async start(pod: () => Pod, volumes: PodVolumes, signal: AbortSignal): Promise<PodSandbox | undefined> {
    const backoff = new Backoff({ initialMs: 500, maxMs: 30_000 });
    while (!signal.aborted) {
      try {
        await volumes.prepare({ pod: pod(), podIps: [], hostIps: this.#shared.hostIps });
        return await this.#shared.slots.use(async () => this.#sandbox(pod(), signal));
      } catch (error) {
        if (signal.aborted) return undefined;
        await this.#failed(pod(), error, backoff, signal);
      }
    }
    return undefined;
  }

  /** Files that every container of the pod sees in /etc. */
  writeFiles(pod: Pod, volumes: PodVolumes, podIps: readonly string[]): void {
    const spec = pod.spec ?? { containers: [] };
    const namespace = pod.metadata?.namespace ?? 'default';
    const hostname = podHostname(pod);
    const { clusterDomain } = this.#shared.dns;
    const domainName =
      spec.subdomain === undefined || spec.subdomain === ''
        ? undefined
        : `${hostname}.${spec.subdomain}.${namespace}.svc.${clusterDomain}`;
    const folder = this.#shared.node.path(`${volumes.folder}/etc`);
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/resolv.conf`, podResolvConf(spec, namespace, this.#shared.dns));
    writeFileSync(`${folder}/hostname`, `${hostname}\n`);
    const facts = { hostname, domainName, addresses: podIps, aliases: spec.hostAliases ?? [] };
    writeFileSync(`${folder}/hosts`, podHostsFile(facts));
  }

  /** Detaches and removes; tried again until it succeeds or the signal is aborted, so that no address leaks. */
  async remove(pod: Pod, { sandbox, attachment }: PodSandbox, signal: AbortSignal): Promise<void> {
    const backoff = new Backoff({ initialMs: 200, maxMs: 10_000 });
    while (!signal.aborted) {
      try {
        if (attachment !== undefined) await this.#cni.del(attachment);
        await sandbox.remove();
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#shared.event(pod, 'Warning', 'FailedKillPod', `error killing pod: ${describeError(error)}`);
        await sleep(backoff.next(), signal);
      }
    }
  }

  async #sandbox(pod: Pod, signal: AbortSignal): Promise<PodSandbox> {
    const id = randomBytes(32).toString('hex');
    const hostNetwork = pod.spec?.hostNetwork === true;
    if (!hostNetwork && this.#cni.config() === undefined) {
      throw new FlatnetError(NOT_READY, { code: 'CNI_NOT_READY', retryable: true });
    }
    const capabilityArgs = { portMappings: portMappings(pod), ...bandwidthOf(pod) };
    const sandbox = await Sandbox.create(this.#shared.node, id, {
      hostname: podHostname(pod),
      hostNetwork,
      signal,
    });
    if (hostNetwork) return { sandbox, attachment: undefined, podIps: this.#shared.hostIps };
    const { namespace = 'default', name = '', uid = '' } = pod.metadata ?? {};
    const attachment = {
      sandboxId: id,
      netnsPath: sandbox.netnsPath,
      namespace,
      pod: name,
      uid,
      capabilityArgs,
    };
    try {
      return { sandbox, attachment, podIps: await this.#cni.add(attachment, signal) };
    } catch (error) {
      // What ADD began must not stay (CNI specification, section 4); its own words matter more than those of DEL.
      await this.#cni.del(attachment).catch(() => undefined);
      await sandbox.remove().catch(() => undefined);
      throw error;
    }
  }

  async #failed(pod: Pod, error: unknown, backoff: Backoff, signal: AbortSignal): Promise<void> {
    const code = error instanceof FlatnetError ? error.code : '';
    const message = describeError(error);
    if (code === 'CNI_NOT_READY') {
      this.#shared.event(pod, 'Warning', 'NetworkNotReady', message);
      await sleep(200, signal);
      return;
    }
    if (code.startsWith('CNI_') || code.startsWith('COMMAND_')) {
      const what = `Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox: ${message}`;
      this.#shared.event(pod, 'Warning', 'FailedCreatePodSandBox', what);
    } else {
      this.#shared.event(pod, 'Warning', 'FailedMount', message);
    }
    await sleep(backoff.next(), signal);
  }
}

function portMappings(pod: Pod): object[] {
  return (pod.spec?.containers ?? [])
    .flatMap(({ ports }) => ports ?? [])
    .filter(({ hostPort }) => hostPort !== undefined && hostPort > 0)
    .map(({ hostPort, containerPort, protocol, hostIP }) => ({
      hostPort,
      containerPort,
      protocol: (protocol ?? 'TCP').toLowerCase(),
      ...(hostIP === undefined ? {} : { hostIP }),
    }));
}
