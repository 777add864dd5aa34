import type { Logger } from '../log/logger.ts';
import type { Attacher, PodAttachmentPoint } from './attacher.ts';
import { podOf } from './protocol/cni-args.ts';
import { CNI_CODE, CniError, cniCodeOf, errorReply } from './protocol/cni-error.ts';
import type { PluginCall } from './protocol/frame.ts';
import { readRequest, versionOf, type CniRequest } from './protocol/request.ts';
import { renderResult } from './protocol/result.ts';
import { versionReply } from './protocol/version.ts';

export interface CniHandlerOptions {
  /** Throws while it cannot work at all. */
  readonly attacher: () => Attacher;
  /** Undefined while the node's pod CIDR is not known; `notReady` then says why. */
  readonly attachmentPoint: () => PodAttachmentPoint | undefined;
  readonly notReady: () => string;
  /** Why pods that are there may be cut off; undefined while nothing is wrong. */
  readonly degraded: () => string | undefined;
  readonly logger: Logger;
  /** For metrics. */
  readonly observe?: (command: string, code: number, durationMs: number) => void;
}

export interface CniReply {
  readonly exitCode: number;
  readonly stdout: string;
}

/** Answers the plugin's calls; none needs the API server. */
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
        return renderResult(await this.#options.attacher().add(request, this.#ready()), request.cniVersion);
      case 'DEL':
        await this.#options.attacher().remove(request);
        return '';
      case 'CHECK':
        await this.#options.attacher().check(request, this.#ready());
        return '';
      case 'GC':
        await this.#options.attacher().collect(request);
        return '';
      default:
        this.#status();
        return '';
    }
  }

  /** Throws CniError 50 where ADD would fail, 51 where pods that are there may be cut off as well. */
  #status(): void {
    if (this.#options.attachmentPoint() === undefined) {
      throw new CniError(CNI_CODE.notAvailable, this.#unready(), 'the node is called ready as soon as it is');
    }
    const degraded = this.#options.degraded();
    if (degraded === undefined) return;
    throw new CniError(
      CNI_CODE.limitedConnectivity,
      `the node's pod network is not as it should be: ${degraded}`,
      'the agent tries again by itself',
    );
  }

  #ready(): PodAttachmentPoint {
    const point = this.#options.attachmentPoint();
    if (point !== undefined) return point;
    throw new CniError(CNI_CODE.tryAgainLater, this.#unready(), 'the runtime tries again by itself');
  }

  #unready(): string {
    return `the node's pod network is not ready: ${this.#options.notReady()}`;
  }
}

const round = (ms: number): number => Math.round(ms * 100) / 100;
