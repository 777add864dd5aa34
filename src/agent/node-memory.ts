import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as z from 'zod';
import { installFile } from '../cni/installation.ts';
import { describeError } from '../errors/flatnet-error.ts';
import type { Logger } from '../log/logger.ts';
import type { IpFamily } from '../net/ip.ts';
import type { OwnNode } from '../podnet/stores/lease-store.ts';
import { cidr, ip } from './address-fields.ts';

/** What a node needs to go on without the store that told it. */
export interface Remembered {
  /** What the networks stand in where the store has them itself: a net-conf.json, as it was written. */
  readonly networkText: string | undefined;
  readonly node: OwnNode;
  /** The smallest underlay MTU of all nodes, bytes. */
  readonly clusterMtu: number;
}

const FILE = 'flatnet-node.json';
/** Another one after every boot (random(4)). */
const BOOT_ID = '/proc/sys/kernel/random/boot_id';

const family = z.union([z.literal(4), z.literal(6)]);

const schema = z.object({
  boot: z.string(),
  store: z.string(),
  node: z.string(),
  networkText: z.string().optional(),
  podCidrs: z.array(cidr).min(1).max(2),
  internalIps: z.array(ip),
  publicIpOverwrites: z.array(ip),
  published: z.object({ type: z.string(), data: z.array(z.tuple([family, z.unknown()])) }).optional(),
  clusterMtu: z.int(),
});

export interface NodeMemoryOptions {
  /** Its folder is the memory's, too. */
  readonly subnetFile: string;
  /** Which store it is; what another one has told is not believed. */
  readonly store: string;
  readonly nodeName: string;
  readonly logger: Logger;
  readonly bootIdFile?: string;
}

/**
 * What the store has told this node last, on its disk beside subnet.env: a node that is started while the store is
 * away goes on with it. Not after a boot, when others may long have had the subnet. Readable by root alone, as a
 * net-conf.json may have a preshared key.
 */
export class NodeMemory {
  readonly #options: NodeMemoryOptions;
  readonly #path: string;
  #kept = '';

  constructor(options: NodeMemoryOptions) {
    this.#options = options;
    this.#path = join(dirname(options.subnetFile), FILE);
  }

  /** Undefined where there is nothing, or nothing that this node could go on with. */
  async recall(): Promise<Remembered | undefined> {
    const { store, nodeName, logger } = this.#options;
    const text = await readFile(this.#path, 'utf8').catch(() => undefined);
    if (text === undefined) return undefined;
    try {
      const found = schema.parse(JSON.parse(text));
      if (found.store !== store || found.node !== nodeName || found.boot !== (await this.#boot()))
        return undefined;
      this.#kept = text;
      return { networkText: found.networkText, node: ownNode(found), clusterMtu: found.clusterMtu };
    } catch (error) {
      logger.warn({ path: this.#path, error: describeError(error) }, 'cannot read what the run before knew');
      return undefined;
    }
  }

  /** In one step. What cannot be written is logged: the node serves all the same. */
  async keep({ networkText, node, clusterMtu }: Remembered): Promise<void> {
    const { store, nodeName, logger } = this.#options;
    const { podCidrs, internalIps, publicIpOverwrites, published } = node;
    const text = `${JSON.stringify({
      boot: await this.#boot(),
      store,
      node: nodeName,
      networkText,
      podCidrs: [...podCidrs.values()].map(String),
      internalIps: internalIps.map(String),
      publicIpOverwrites: [...publicIpOverwrites.values()].map(String),
      published: published === undefined ? undefined : { type: published.type, data: [...published.data] },
      clusterMtu,
    })}\n`;
    if (text === this.#kept) return;
    try {
      await installFile(this.#path, text, 0o600);
      this.#kept = text;
    } catch (error) {
      logger.warn(
        { error: describeError(error) },
        'a start while the store is away will have to wait for it',
      );
    }
  }

  async #boot(): Promise<string> {
    return (await readFile(this.#options.bootIdFile ?? BOOT_ID, 'utf8')).trim();
  }
}

const byFamily = <T extends { readonly family: IpFamily }>(items: readonly T[]): Map<IpFamily, T> =>
  new Map(items.map((item) => [item.family, item]));

function ownNode(found: z.output<typeof schema>): OwnNode {
  const { published } = found;
  return {
    name: found.node,
    podCidrs: byFamily(found.podCidrs),
    internalIps: found.internalIps,
    published: published === undefined ? undefined : { type: published.type, data: new Map(published.data) },
    publicIpOverwrites: byFamily(found.publicIpOverwrites),
    problems: [],
  };
}
