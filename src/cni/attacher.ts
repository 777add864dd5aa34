import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Link } from '../kernel/netlink/objects.ts';
import type { Logger } from '../log/logger.ts';
import { dnsOf, poolOf, takeAddresses } from './address-choice.ts';
import { attachmentKey, type AttachmentFolder } from './attachments/attachment-folder.ts';
import type { AttachmentRecord, InterfaceMode } from './attachments/attachment-record.ts';
import { ensureGateways } from './bridge.ts';
import type { PodInterfaceKernels } from './container-netns.ts';
import { hostVethName } from './host-veth.ts';
import type { PodAddresses } from './pod-addresses.ts';
import { checkPodInterface } from './pod-check.ts';
import type { PodFeature } from './pod-feature.ts';
import { addPodInterface, removePodInterface } from './pod-interface.ts';
import { routedAddresses } from './pod-routes.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import type { AddRequest, Attachment, CheckRequest, DelRequest, GcRequest } from './protocol/request.ts';
import type { AddResult, ContainerAddress } from './protocol/result.ts';

/** What the node has to have before a pod can be connected. */
export interface PodAttachmentPoint {
  readonly bridge: string;
  /** As it was when last looked at. */
  readonly knownBridge?: Link | undefined;
  readonly mtu: number;
  /** For configurations that do not say. */
  readonly mode: InterfaceMode;
}

export interface AttacherOptions {
  readonly kernels: PodInterfaceKernels;
  readonly addresses: PodAddresses;
  readonly attachments: AttachmentFolder;
  readonly features: readonly PodFeature[];
  /** Name of the network whose reservations stand in the node's own folder. */
  readonly network: string;
  readonly logger: Logger;
  /** The interface of a pod has gone, and what was remembered of it. */
  readonly onRemoved?: (record: AttachmentRecord) => void;
}

/**
 * Connects and disconnects containers. An attachment is written down before anything of it is made, and forgotten
 * after all of it is gone; so one that was cut off at any moment is found again by DEL, GC or `sweep`. Calls about one
 * interface wait for each other.
 */
export class Attacher {
  readonly #options: AttacherOptions;
  /** Interfaces that are being worked on, with the end of the last call about each. */
  readonly #busy = new Map<string, Promise<unknown>>();

  constructor(options: AttacherOptions) {
    this.#options = options;
  }

  /** Throws CniError, and FlatnetErrors whose code `cniCodeOf` knows; nothing is left of an ADD that failed. */
  async add(request: AddRequest, point: PodAttachmentPoint): Promise<AddResult> {
    return this.#alone(request, async () => {
      await this.#refuseSecond(request);
      const taken = this.#takeAddresses(request, point);
      try {
        return await this.#connect(request, point, taken);
      } catch (error) {
        await this.#undo(request);
        throw error;
      }
    });
  }

  /** What is gone already is no error. */
  async remove(request: DelRequest): Promise<void> {
    await this.#alone(request, async () => this.#remove(request, request.netns, request.config));
  }

  /** Throws CniError 101 that lists what is not as ADD left it. */
  async check(request: CheckRequest, point: PodAttachmentPoint): Promise<void> {
    const wrong = await this.#alone(request, async () => this.#wrong(request, point));
    if (wrong.length === 0) return;
    throw new CniError(
      CNI_CODE.checkFailed,
      `container ${request.containerId}: ${wrong.join('; ')}`,
      'the runtime should make the sandbox anew',
    );
  }

  /**
   * Removes every attachment of the network that is not valid, and everything that features keep for such. Goes on
   * past errors and throws the first of them at the end, which says how many there are.
   */
  async collect({ network, valid, config }: GcRequest): Promise<void> {
    const keep = new Set(valid.map(attachmentKey));
    const containers = new Set(valid.map(({ containerId }) => containerId));
    const invalid = (attachment: Attachment): boolean =>
      attachment.ifName === ''
        ? !containers.has(attachment.containerId)
        : !keep.has(attachmentKey(attachment));
    const { attachments, addresses, logger } = this.#options;
    const known = attachments.all();
    const recorded = new Set(known.map(attachmentKey));
    const gone = known.filter((record) => record.network === network && invalid(record));
    // Reservations that host-local, or an ADD that was cut off, has left.
    const pool = config === undefined ? undefined : quietPool(config);
    const owners = [
      ...(network === this.#options.network ? addresses.owners() : []),
      ...(pool === undefined ? [] : addresses.owners(pool)),
    ];
    const stray = owners.filter((owner) => !recorded.has(attachmentKey(owner)) && invalid(owner));
    const removed = await this.#removeAll([...gone, ...stray], config);
    logger.info({ network, valid: valid.length, removed }, 'attachments that are not valid removed');
    await this.#collectFeatures();
  }

  /** Removes attachments whose interface is gone: both ends of a veth die together. Returns how many. */
  async sweep(): Promise<number> {
    const { kernels, attachments } = this.#options;
    const present = new Set(kernels.node.links().map(({ name }) => name));
    const gone = attachments.all().filter(({ hostInterface }) => !present.has(hostInterface));
    const removed = await this.#removeAll(gone);
    if (removed > 0) await this.#collectFeatures();
    return removed;
  }

  /** Brings back what features have lost, at the start or when the kernel was cleared. Never throws. */
  async restore(): Promise<void> {
    const { features, attachments, logger } = this.#options;
    for (const feature of features) {
      try {
        await feature.restore(attachments.all());
      } catch (error) {
        logger.warn({ feature: feature.name, error: describeError(error) }, 'cannot restore what pods had');
      }
    }
  }

  /**
   * Reservations of the node's own range are found by their folder. Any other folder is known by records only, so there
   * has to be one first.
   */
  #takeAddresses(request: AddRequest, point: PodAttachmentPoint): readonly ContainerAddress[] {
    const { addresses, attachments } = this.#options;
    if (poolOf(request.config) === undefined) return takeAddresses(request, addresses);
    attachments.put(recordOf(request, request.config.mode ?? point.mode, []));
    try {
      return takeAddresses(request, addresses);
    } catch (error) {
      attachments.delete(request);
      throw error;
    }
  }

  async #connect(
    request: AddRequest,
    point: PodAttachmentPoint,
    taken: readonly ContainerAddress[],
  ): Promise<AddResult> {
    const { kernels, attachments, features } = this.#options;
    const { config, runtimeConfig } = request;
    const mode = config.mode ?? point.mode;
    const bridge = checkedBridge(config.bridge, mode, point);
    const mtu = Math.min(config.mtu ?? point.mtu, point.mtu);
    const addresses = mode === 'ptp' ? routedAddresses(taken) : taken;
    const record = recordOf(request, mode, addresses);
    const dns = dnsOf(config);
    attachments.put(record);
    if (mode === 'bridge' && config.ipam !== undefined) ensureGateways(kernels.node, bridge, addresses);
    const { hairpin, ipam } = config;
    const { mac } = runtimeConfig;
    const result = addPodInterface(kernels, request, {
      mode,
      bridge,
      knownBridge: point.knownBridge,
      mtu,
      hairpin,
      mac,
      addresses,
      routes: ipam?.routes,
      dns,
    });
    for (const feature of features) await feature.add(record, result, runtimeConfig);
    return result;
  }

  /** A record alone is no second ADD: the first may have been cut off. */
  async #refuseSecond(request: AddRequest): Promise<void> {
    const { kernels, attachments } = this.#options;
    const record = attachments.get(request);
    if (record === undefined) return;
    if (kernels.node.link(record.hostInterface) === undefined) {
      await this.#remove(request, undefined, undefined);
      return;
    }
    const held = record.addresses.map(({ ip }) => ip.toString()).join(' and ');
    throw new CniError(
      CNI_CODE.duplicateAdd,
      `container ${request.containerId} already has ${held} for ${request.ifName}: a second ADD is not allowed`,
      'call DEL for it first',
    );
  }

  /** Of a failed ADD. An interface that the container had before it is not ours to remove: no namespace is entered. */
  async #undo(request: AddRequest): Promise<void> {
    try {
      await this.#remove(request, undefined, request.config);
    } catch (error) {
      const { containerId, ifName } = request;
      this.#options.logger.warn(
        { container: containerId, ifName, error: describeError(error) },
        'a failed ADD could not be undone; DEL or the next sweep does it',
      );
    }
  }

  async #remove(target: Attachment, netns: string | undefined, config: DelRequest['config']): Promise<void> {
    const { kernels, addresses, attachments, features } = this.#options;
    const record = attachments.get(target);
    for (const feature of features) await feature.remove(target, record);
    await removePodInterface(kernels, target, netns);
    addresses.release(target);
    const pool = record?.pool ?? (config === undefined ? undefined : quietPool(config));
    if (pool !== undefined) addresses.release(target, pool);
    attachments.delete(target);
    if (record !== undefined) this.#options.onRemoved?.(record);
  }

  async #removeAll(targets: readonly Attachment[], config?: DelRequest['config']): Promise<number> {
    const { logger } = this.#options;
    const errors: unknown[] = [];
    let removed = 0;
    for (const target of targets) {
      // Its ADD or DEL is under way: what it leaves is seen next time.
      if (this.#busy.has(attachmentKey(target))) continue;
      try {
        await this.#alone(target, async () => this.#remove(target, undefined, config));
        removed += 1;
        logger.info(
          { container: target.containerId, ifName: target.ifName },
          'attachment of a vanished container removed',
        );
      } catch (error) {
        errors.push(error);
        logger.warn(
          { container: target.containerId, error: describeError(error) },
          'cannot remove an attachment',
        );
      }
    }
    if (errors.length === 0) return removed;
    throw new FlatnetError(
      `${errors.length} of ${targets.length} attachments could not be removed: ${describeError(errors[0])}`,
      { code: 'ATTACHMENTS_IO', retryable: true, cause: errors[0] },
    );
  }

  async #collectFeatures(): Promise<void> {
    const { features, attachments } = this.#options;
    for (const feature of features)
      await feature.gc((attachment) => attachments.get(attachment) !== undefined);
  }

  async #wrong(request: CheckRequest, point: PodAttachmentPoint): Promise<string[]> {
    const { kernels, addresses, attachments, features } = this.#options;
    const { config } = request;
    const record = attachments.get(request);
    const reserved = config.ipam?.type === 'static' ? undefined : addresses.find(request, poolOf(config));
    const mode = record?.mode ?? config.mode ?? point.mode;
    const wrong = checkPodInterface(kernels, request, {
      mode,
      bridge: config.bridge ?? point.bridge,
      addresses: record?.addresses ?? reserved ?? [],
      reserved,
      routes: config.ipam?.routes,
    });
    if (record === undefined) return wrong;
    for (const feature of features) wrong.push(...(await feature.check(record, request.runtimeConfig)));
    return wrong;
  }

  async #alone<T>(target: Attachment, work: () => Promise<T>): Promise<T> {
    const key = attachmentKey(target);
    const before = this.#busy.get(key);
    const mine = before === undefined ? work() : before.then(work, work);
    const settled = mine.catch(() => undefined);
    this.#busy.set(key, settled);
    try {
      return await mine;
    } finally {
      if (this.#busy.get(key) === settled) this.#busy.delete(key);
    }
  }
}

function recordOf(
  request: AddRequest,
  mode: InterfaceMode,
  addresses: readonly ContainerAddress[],
): AttachmentRecord {
  const { config, runtimeConfig } = request;
  return {
    containerId: request.containerId,
    ifName: request.ifName,
    network: config.name,
    netns: request.netns,
    pod: request.args.pod,
    mode,
    hostInterface: hostVethName(request),
    addresses,
    hairpin: config.hairpin,
    mtu: config.mtu,
    pool: poolReference(request),
    runtimeConfig,
  };
}

/** Only the agent's own bridge has the gateway. Throws CniError 7. */
function checkedBridge(asked: string | undefined, mode: InterfaceMode, point: PodAttachmentPoint): string {
  if (mode === 'ptp' || asked === undefined || asked === '' || asked === point.bridge) return point.bridge;
  throw new CniError(
    CNI_CODE.invalidConfiguration,
    `network configuration: bridge: ${JSON.stringify(asked)} is not the node's bridge ${point.bridge}`,
    'leave it out, or give cni.bridge of the agent the same name',
  );
}

function poolReference({ config }: AddRequest): AttachmentRecord['pool'] {
  const pool = poolOf(config);
  return pool && { network: pool.network, dataDir: pool.dataDir };
}

function quietPool(config: NonNullable<DelRequest['config']>): AttachmentRecord['pool'] {
  try {
    return poolOf(config);
  } catch {
    return undefined;
  }
}
