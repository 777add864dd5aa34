import { rm } from 'node:fs/promises';
import type { Container, Pod, PodStatus } from 'kubernetes-types/core/v1.js';
import type { ApiClient } from '../../cluster/api-client.ts';
import { hasStatus } from '../../cluster/api-error.ts';
import { PODS } from '../../cluster/resource-type.ts';
import { describeError } from '../../errors/flatnet-error.ts';
import { Backoff, sleep } from '../../timing/backoff.ts';
import { ContainerWorker, seconds } from './container-worker.ts';
import { linkSignal } from './linked-signal.ts';
import { factsOf, podHostname, type NodeContext, type PodContext } from './pod-context.ts';
import type { PodSandbox, PodSetup } from './pod-setup.ts';
import { podPhase, podStatus, type PodView } from './pod-status.ts';
import { StatusPublisher } from './status-publisher.ts';
import { PodVolumes } from './volumes.ts';

/** How often files of ConfigMaps, Secrets and tokens are brought up to date. */
const REFRESH_MS = 60_000;

/** One pod of the node, from its first sight to its last trace. */
export class PodWorker {
  readonly uid: string;
  readonly #shared: NodeContext;
  readonly #setup: PodSetup;
  readonly #client: ApiClient;
  readonly #volumes: PodVolumes;
  readonly #publisher: StatusPublisher;
  readonly #containers = new Map<string, ContainerWorker>();
  readonly #startTime = seconds(new Date());
  /** Aborted when the pod shall end. */
  readonly #ending: AbortController;
  /** Aborted when nobody waits for the pod's grace period any more. */
  readonly #killing = new AbortController();
  readonly #lab: AbortSignal;
  #pod: Pod;
  #sandbox: PodSandbox | undefined;
  #failure: PodView['failure'];
  #isDone = false;

  /** `lab` is aborted when the whole node goes: nothing is cleaned up then. */
  constructor(shared: NodeContext, setup: PodSetup, client: ApiClient, pod: Pod, lab: AbortSignal) {
    this.#shared = shared;
    this.#setup = setup;
    this.#client = client;
    this.#pod = pod;
    this.#lab = lab;
    this.uid = pod.metadata?.uid ?? '';
    this.#volumes = new PodVolumes(shared.node, shared.objects, pod);
    const { name = '', namespace } = pod.metadata ?? {};
    this.#publisher = new StatusPublisher(client, { name, namespace }, () => this.#status(), lab);
    this.#ending = linkSignal(lab);
  }

  /** The container's worker, for logs and exec; undefined where the pod has none of this name (yet). */
  container(name: string): ContainerWorker | undefined {
    return this.#containers.get(name);
  }

  get pod(): Pod {
    return this.#pod;
  }

  /** The pod as the API has it now; a deletion timestamp begins its end. */
  update(pod: Pod): void {
    this.#pod = pod;
    if (pod.metadata?.deletionTimestamp === undefined) return;
    if (pod.metadata.deletionGracePeriodSeconds === 0) this.#killing.abort();
    this.#ending.abort();
  }

  /** The object is gone without having waited for the pod: its processes follow at once. */
  removed(): void {
    this.#killing.abort();
    this.#ending.abort();
  }

  /** Resolves when nothing of the pod is left on the node. Never rejects. */
  async run(): Promise<void> {
    this.update(this.#pod);
    try {
      if (this.#isFinished()) this.#isDone = true;
      else await this.#live();
    } catch (error) {
      this.#failure = { reason: 'KubeletError', message: describeError(error) };
    }
    if (this.#lab.aborted) return;
    await this.#end();
    await this.#publisher.flush();
    await this.#waitForDeletion();
    await this.#delete();
  }

  async #live(): Promise<void> {
    const spec = this.#pod.spec ?? { containers: [] };
    this.#publisher.request();
    this.#sandbox = await this.#setup.start(() => this.#pod, this.#volumes, this.#ending.signal);
    if (this.#sandbox === undefined) return;
    this.#setup.writeFiles(this.#pod, this.#volumes, this.#sandbox.podIps);
    const context = this.#context(this.#sandbox);
    this.#publisher.request();
    const sidecars: Promise<void>[] = [];
    for (const container of spec.initContainers ?? []) {
      if (!(await this.#initialize(context, container, sidecars))) return;
    }
    if (this.#ending.signal.aborted) return;
    const workers = spec.containers.map((container) =>
      this.#worker(context, container, spec.restartPolicy ?? 'Always'),
    );
    this.#publisher.request();
    const refresh = this.#refreshVolumes(context);
    const ended = Promise.all(workers.map(async (worker) => worker.run()));
    const deadline = spec.activeDeadlineSeconds;
    if (deadline !== undefined) this.#failAfter(deadline);
    await Promise.race([ended, aborted(this.#ending.signal)]);
    this.#isDone = true;
    this.#ending.abort();
    await Promise.all([refresh, this.#stopContainers(), ended, ...sidecars]);
  }

  /** False where the pod cannot go on: it is ending, or an init container failed for good. */
  async #initialize(context: PodContext, container: Container, sidecars: Promise<void>[]): Promise<boolean> {
    const isSidecar = (container as { restartPolicy?: string }).restartPolicy === 'Always';
    const podPolicy = this.#pod.spec?.restartPolicy === 'Never' ? 'Never' : 'OnFailure';
    const worker = this.#worker(context, container, isSidecar ? 'Always' : podPolicy);
    const running = worker.run();
    if (isSidecar) {
      sidecars.push(running);
      await Promise.race([worker.started(), aborted(this.#ending.signal)]);
    } else {
      await Promise.race([running, aborted(this.#ending.signal)]);
    }
    if (this.#ending.signal.aborted) {
      await Promise.all([this.#stopContainers(), running, ...sidecars]);
      return false;
    }
    return isSidecar || worker.view.state.terminated?.exitCode === 0;
  }

  #worker(context: PodContext, container: Container, policy: string): ContainerWorker {
    const worker = new ContainerWorker(context, container, policy);
    this.#containers.set(container.name, worker);
    return worker;
  }

  #context({ sandbox, podIps }: PodSandbox): PodContext {
    return {
      shared: this.#shared,
      sandbox,
      volumes: this.#volumes,
      hostname: podHostname(this.#pod),
      podIps,
      pod: () => this.#pod,
      changed: () => this.#publisher.request(),
    };
  }

  async #stopContainers(): Promise<void> {
    const { deletionGracePeriodSeconds } = this.#pod.metadata ?? {};
    const grace = deletionGracePeriodSeconds ?? this.#pod.spec?.terminationGracePeriodSeconds ?? 30;
    const workers = [...this.#containers.values()];
    const kill = (): void => workers.forEach((worker) => worker.kill());
    if (this.#killing.signal.aborted || this.#lab.aborted) kill();
    this.#killing.signal.addEventListener('abort', kill, { once: true });
    await Promise.all(workers.map(async (worker) => worker.stop(grace * 1000)));
  }

  async #end(): Promise<void> {
    await this.#stopContainers();
    if (this.#sandbox !== undefined) await this.#setup.remove(this.#pod, this.#sandbox, this.#lab);
    this.#sandbox = undefined;
  }

  /** A pod that has run to its end stays in the API, with its logs, until somebody deletes it. */
  async #waitForDeletion(): Promise<void> {
    while (this.#pod.metadata?.deletionTimestamp === undefined && !this.#killing.signal.aborted) {
      await sleep(1000, this.#killing.signal);
      if (this.#lab.aborted) return;
    }
  }

  async #delete(): Promise<void> {
    const { name = '', namespace, uid = '' } = this.#pod.metadata ?? {};
    const backoff = new Backoff({ initialMs: 100, maxMs: 5000 });
    while (!this.#lab.aborted) {
      try {
        await this.#client.delete(
          PODS,
          { name, namespace },
          { gracePeriodSeconds: 0, preconditions: { uid } },
        );
        break;
      } catch (error) {
        // Gone already, or the name belongs to another pod by now.
        if (hasStatus(error, 404) || hasStatus(error, 409)) break;
        await sleep(backoff.next(), this.#lab);
      }
    }
    for (const folder of [this.#volumes.folder, `/var/log/pods/${namespace}_${name}_${uid}`]) {
      await rm(this.#shared.node.path(folder), { recursive: true, force: true }).catch(() => undefined);
    }
  }

  async #refreshVolumes(context: PodContext): Promise<void> {
    while (!this.#ending.signal.aborted) {
      await sleep(REFRESH_MS, this.#ending.signal);
      if (this.#ending.signal.aborted) return;
      try {
        await this.#volumes.prepare(factsOf(context));
      } catch (error) {
        this.#shared.event(this.#pod, 'Warning', 'FailedMount', describeError(error));
      }
    }
  }

  #failAfter(seconds: number): void {
    const timer = setTimeout(() => {
      const message = 'Pod was active on the node longer than the specified deadline';
      this.#failure = { reason: 'DeadlineExceeded', message };
      this.#ending.abort();
    }, seconds * 1000);
    this.#ending.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  }

  #isFinished(): boolean {
    return ['Succeeded', 'Failed'].includes(this.#pod.status?.phase ?? '');
  }

  #status(): PodStatus {
    const pod = this.#pod;
    if (this.#containers.size === 0 && this.#isFinished() && pod.status !== undefined) return pod.status;
    const view = this.#view();
    // A pod that is deleted while it runs has the phase of its containers' exit codes when they have ended.
    const ended = this.#isDone && podPhase(pod, view) === 'Running' && this.#allEnded();
    return podStatus(
      ended
        ? { ...pod, spec: { ...pod.spec, containers: pod.spec?.containers ?? [], restartPolicy: 'Never' } }
        : pod,
      view,
      seconds(new Date()),
    );
  }

  #allEnded(): boolean {
    return [...this.#containers.values()].every(({ view }) => view.state.running === undefined);
  }

  #view(): PodView {
    return {
      containers: new Map([...this.#containers].map(([name, { view }]) => [name, view])),
      podIps: this.#sandbox?.podIps ?? [],
      hostIps: this.#shared.hostIps,
      startTime: this.#pod.status?.startTime ?? this.#startTime,
      sandboxReady: this.#sandbox !== undefined,
      failure: this.#failure,
    };
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
