import type { Logger } from '../log/logger.ts';
import type { PodAddresses } from './pod-addresses.ts';
import { checkPodInterface } from './pod-check.ts';
import { addPodInterface, removePodInterface, type PodInterfaceKernels } from './pod-interface.ts';
import { CNI_CODE, CniError, cniCodeOf, errorReply } from './protocol/cni-error.ts';
import type { PluginCall } from './protocol/frame.ts';
import { readRequest, versionOf, type AddRequest, type CniRequest } from './protocol/request.ts';
import { renderResult } from './protocol/result.ts';
import { versionReply } from './protocol/version.ts';

/** What the node has to have before a pod can be connected. */
export interface PodAttachmentPoint {
  readonly addresses: PodAddresses;
  readonly bridge: string;
  readonly mtu: number;
}

export interface CniHandlerOptions {
  readonly kernels: PodInterfaceKernels;
  /** Undefined while the node's pod CIDR is not known; `notReady` then says why. */
  readonly attachmentPoint: () => PodAttachmentPoint | undefined;
  readonly notReady: () => string;
  readonly logger: Logger;
  /** For metrics. */
  readonly observe?: (command: string, code: number, durationMs: number) => void;
}

export interface CniReply {
  readonly exitCode: number;
  readonly stdout: string;
}

/**
 * Answers the plugin's calls; none needs the API server. ADD and CHECK are worked off in one go: kernel and folder
 * answer at once, so no other call comes in between. DEL waits for the kernel, and frees the address only afterwards.
 */
export class CniHandler {
  readonly #options: CniHandlerOptions;

  constructor(options: CniHandlerOptions) {
    this.#options = options;
  }

  async handle(call: PluginCall): Promise<CniReply> {
    const started = performance.now();
    const command = call.environment.get('CNI_COMMAND') ?? '';
    const about = {
      command,
      container: call.environment.get('CNI_CONTAINERID'),
      ifName: call.environment.get('CNI_IFNAME'),
      pod: podOf(call.environment.get('CNI_ARGS')),
    };
    try {
      const stdout = await this.#answer(readRequest(call));
      const durationMs = performance.now() - started;
      this.#options.logger.info({ ...about, durationMs: round(durationMs) }, 'cni request done');
      this.#options.observe?.(command, 0, durationMs);
      return { exitCode: 0, stdout };
    } catch (error) {
      const code = cniCodeOf(error);
      const durationMs = performance.now() - started;
      this.#options.logger.warn(
        { ...about, code, durationMs: round(durationMs), error: String(error) },
        'cni request failed',
      );
      this.#options.observe?.(command, code, durationMs);
      return { exitCode: 1, stdout: errorReply(error, versionOf(call)) };
    }
  }

  async #answer(request: CniRequest): Promise<string> {
    switch (request.command) {
      case 'VERSION':
        return versionReply();
      case 'ADD':
        return this.#add(request);
      case 'DEL': {
        await removePodInterface(this.#options.kernels, request, request.netns);
        // Without a pod CIDR nothing can have been reserved by this agent; a later DEL or reclaim frees the rest.
        this.#options.attachmentPoint()?.addresses.release(request);
        return '';
      }
      default: {
        const { addresses, bridge } = this.#ready();
        checkPodInterface(this.#options.kernels, request, bridge, addresses.find(request));
        return '';
      }
    }
  }

  #add(request: AddRequest): string {
    const { addresses, bridge, mtu } = this.#ready();
    const reserved = addresses.reserve(request);
    try {
      const result = addPodInterface(this.#options.kernels, request, { bridge, mtu, addresses: reserved });
      return renderResult(result, request.cniVersion);
    } catch (error) {
      addresses.release(request);
      throw error;
    }
  }

  #ready(): PodAttachmentPoint {
    const point = this.#options.attachmentPoint();
    if (point !== undefined) return point;
    throw new CniError(
      CNI_CODE.tryAgainLater,
      `the node's pod network is not ready: ${this.#options.notReady()}`,
      'the runtime tries again by itself',
    );
  }
}

/** K8S_POD_NAMESPACE and K8S_POD_NAME of CNI_ARGS, for the log. */
function podOf(args: string | undefined): string | undefined {
  const values = new Map(
    (args ?? '').split(';').map((pair) => [pair.split('=')[0] ?? '', pair.split('=')[1] ?? '']),
  );
  const name = values.get('K8S_POD_NAME');
  return name === undefined ? undefined : `${values.get('K8S_POD_NAMESPACE') ?? ''}/${name}`;
}

const round = (ms: number): number => Math.round(ms * 100) / 100;
