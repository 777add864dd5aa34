import { createHash } from 'node:crypto';
import { describeError, FlatnetError } from '../../errors/flatnet-error.ts';
import type { Link } from '../../kernel/netlink/objects.ts';
import type { RouteKernel } from '../../kernel/netlink/route-kernel.ts';
import type { TokenBucket } from '../../kernel/netlink/tc-codec.ts';
import type { TrafficControl } from '../../kernel/netlink/traffic-control.ts';
import type { Logger } from '../../log/logger.ts';
import type { AttachmentRecord } from '../attachments/attachment-record.ts';
import type { PodFeature } from '../pod-feature.ts';
import type { Attachment } from '../protocol/request.ts';
import { limitOf } from './limit.ts';

export interface BandwidthOptions {
  /** Both of the node's network namespace. */
  readonly kernel: RouteKernel;
  readonly trafficControl: TrafficControl;
  readonly logger: Logger;
}

/** Also tells to whom a device of the kind belongs: names are hashes. */
const ALIAS = 'flatnet bandwidth ';
const PREFIX = 'ifb';

interface Limits {
  readonly host: Link;
  readonly toPod: TokenBucket | undefined;
  readonly fromPod: TokenBucket | undefined;
}

/**
 * Capability `bandwidth`, in the way of the plugin of that name: a token bucket at the node's end of the veth for what
 * goes to the pod; what comes from it is led through an ifb device of its own, which has the other bucket.
 */
export class Bandwidth implements PodFeature {
  readonly name = 'bandwidth';
  readonly #options: BandwidthOptions;

  constructor(options: BandwidthOptions) {
    this.#options = options;
  }

  add(record: AttachmentRecord): void {
    const limits = this.#limits(record);
    if (limits !== undefined) this.#apply(record, limits);
  }

  /** The buckets on the veth go with it. */
  async remove(attachment: Attachment, record: AttachmentRecord | undefined): Promise<void> {
    // Most pods have no limit: DEL need not ask the kernel.
    if (record !== undefined && (record.runtimeConfig.bandwidth?.egressRate ?? 0) === 0) return;
    const ifb = this.#options.kernel.link(ifbName(attachment));
    if (ifb !== undefined) await this.#delete(ifb);
  }

  check(record: AttachmentRecord): string[] {
    const { kernel, trafficControl } = this.#options;
    const limits = this.#limits(record);
    if (limits === undefined) return [];
    const { host, toPod, fromPod } = limits;
    const wrong: string[] = [];
    if (toPod !== undefined && !isSame(trafficControl.shapeOf(host.index), toPod)) {
      wrong.push(`traffic to the pod is not limited to ${toPod.bytesPerSecond * 8} bit/s`);
    }
    if (fromPod !== undefined) {
      const ifb = kernel.link(ifbName(record));
      const stands =
        ifb?.up === true &&
        isSame(trafficControl.shapeOf(ifb.index), fromPod) &&
        trafficControl.redirectOf(host.index) === ifb.index;
      if (!stands) wrong.push(`traffic from the pod is not limited to ${fromPod.bytesPerSecond * 8} bit/s`);
    }
    return wrong;
  }

  async gc(isValid: (attachment: Attachment) => boolean): Promise<void> {
    for (const link of this.#options.kernel.links()) {
      const owner = ownerOf(link);
      if (owner !== undefined && !isValid(owner)) await this.#delete(link);
    }
  }

  /** What stands as it should is not touched; what cannot be restored is logged. */
  async restore(records: readonly AttachmentRecord[]): Promise<void> {
    const known = new Set(records.map(ifbName));
    await this.gc((attachment) => known.has(ifbName(attachment)));
    for (const record of records) {
      try {
        if (this.check(record).length > 0) this.add(record);
      } catch (error) {
        this.#options.logger.warn(
          { container: record.containerId, pod: record.pod, error: describeError(error) },
          'bandwidth of a pod cannot be limited',
        );
      }
    }
  }

  /** Undefined: no limit is asked for. */
  #limits(record: AttachmentRecord): Limits | undefined {
    const { bandwidth } = record.runtimeConfig;
    if (bandwidth === undefined) return undefined;
    const host = this.#options.kernel.link(record.hostInterface);
    if (host === undefined) {
      throw new FlatnetError(`interface ${record.hostInterface} of container ${record.containerId} is gone`, {
        code: 'ENODEV',
      });
    }
    const toPod = limitOf('ingress', bandwidth.ingressRate, bandwidth.ingressBurst, host.mtu);
    const fromPod = limitOf('egress', bandwidth.egressRate, bandwidth.egressBurst, host.mtu);
    return toPod === undefined && fromPod === undefined ? undefined : { host, toPod, fromPod };
  }

  #apply(record: AttachmentRecord, { host, toPod, fromPod }: Limits): void {
    const { trafficControl } = this.#options;
    if (toPod !== undefined) trafficControl.shape(host.index, toPod);
    if (fromPod === undefined) return;
    const ifb = this.#ensureIfb(record, host.mtu);
    trafficControl.shape(ifb, fromPod);
    // Last: what is led to a device that is down is lost.
    if (trafficControl.redirectOf(host.index) !== ifb) trafficControl.redirectIncoming(host.index, ifb);
  }

  #ensureIfb(attachment: Attachment, mtu: number): number {
    const { kernel } = this.#options;
    const name = ifbName(attachment);
    const alias = `${ALIAS}${attachment.containerId} ${attachment.ifName}`;
    const ifb = kernel.link(name) ?? kernel.addLink({ kind: 'ifb', name, mtu, alias, up: true });
    if (ifb === undefined)
      throw new FlatnetError(`device ${name} vanished`, { code: 'ENODEV', retryable: true });
    if (!ifb.up || ifb.mtu !== mtu) kernel.changeLink(ifb.index, { up: true, mtu });
    return ifb.index;
  }

  async #delete({ index }: Link): Promise<void> {
    try {
      await this.#options.kernel.deleteLinkElsewhere(index);
    } catch (error) {
      if (!(error instanceof FlatnetError) || error.code !== 'ENODEV') throw error;
    }
  }
}

/** The burst that is read back is rounded; the limit, which contains it, is not. */
const isSame = (found: TokenBucket | undefined, wanted: TokenBucket): boolean =>
  found?.bytesPerSecond === wanted.bytesPerSecond && found.limitBytes === wanted.limitBytes;

function ifbName({ containerId, ifName }: Attachment): string {
  const hash = createHash('sha256').update(`${containerId}\n${ifName}`).digest('hex');
  return PREFIX + hash.slice(0, 15 - PREFIX.length);
}

function ownerOf({ kind, alias }: Link): Attachment | undefined {
  if (kind !== 'ifb' || alias?.startsWith(ALIAS) !== true) return undefined;
  const [containerId = '', ifName = ''] = alias.slice(ALIAS.length).split(' ');
  return { containerId, ifName };
}
