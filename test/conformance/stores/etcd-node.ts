import { EtcdClient } from '../../../src/etcd/etcd-client.ts';
import type { EtcdAccess } from '../../../src/etcd/etcd-access.ts';
import { parseEndpoint } from '../../../src/etcd/endpoint.ts';
import type { RealEtcd } from '../../../src/etcd/real-etcd.ts';
import { readNetConf } from '../../../src/agent/net-conf.ts';
import { createLogger } from '../../../src/log/logger.ts';
import { Ip, type IpFamily } from '../../../src/net/ip.ts';
import type { NodeLease } from '../../../src/podnet/node-lease.ts';
import {
  EtcdLeaseStore,
  type EtcdLeaseStoreOptions,
} from '../../../src/podnet/stores/etcd/etcd-lease-store.ts';
import { subnetName } from '../../../src/podnet/stores/etcd/subnet-key.ts';
import type { OwnNode, Publication } from '../../../src/podnet/stores/lease-store.ts';

export const PREFIX = '/coreos.com/network';
export const SUBNETS = `${PREFIX}/subnets/`;

export interface EtcdNodeOptions extends Partial<EtcdLeaseStoreOptions> {
  readonly access?: Partial<EtcdAccess>;
  /** Milliseconds; short by default, so that a test need not wait for a dead connection to be found. */
  readonly keepAliveMs?: number;
}

/** A node whose agent uses the etcd store: what its agent would publish, and what it would have been told. */
export class EtcdNode {
  readonly store: EtcdLeaseStore;
  readonly client: EtcdClient;
  publication: Publication;
  readonly peers = new Map<string, NodeLease>();
  readonly problems = new Map<string, string>();
  /** Peers that were there and then were not, in this order. */
  readonly gone: string[] = [];
  self: OwnNode | undefined;
  synced = false;
  publishes = true;
  /** Called when the store has told of this node. */
  onSelf: (() => void) | undefined;
  readonly #abort = new AbortController();
  #running: Promise<void> | undefined;

  constructor(
    etcd: RealEtcd,
    publication: Publication,
    { access, keepAliveMs = 400, ...options }: EtcdNodeOptions = {},
  ) {
    this.client = new EtcdClient(
      { endpoints: [parseEndpoint(etcd.endpoint)], ...access },
      { timeoutMs: 5000, keepAliveMs },
    );
    this.publication = publication;
    this.store = new EtcdLeaseStore({
      client: this.client,
      nodeName: 'node',
      prefix: PREFIX,
      readConfig: readNetConf,
      renewMarginSeconds: 3600,
      // Tests write subnets of the upper half themselves.
      random: () => Math.random() / 2,
      logger: createLogger('etcd-node', process.env['FLATNET_LOG_LEVEL'] ?? 'silent'),
      ...options,
    });
  }

  start(): this {
    this.#running = this.store.run(
      {
        self: (node) => {
          this.self = node;
          if (this.publishes) this.store.publish(this.publication);
          this.onSelf?.();
        },
        peer: (name, lease, problems) => {
          if (lease === undefined && this.peers.delete(name)) this.gone.push(name);
          if (lease !== undefined) this.peers.set(name, lease);
          if (problems.length === 0) this.problems.delete(name);
          else this.problems.set(name, problems.map(({ message }) => message).join('\n'));
        },
        synced: () => {
          this.synced = true;
        },
      },
      this.#abort.signal,
    );
    return this;
  }

  publish(publication: Publication): void {
    this.publication = publication;
    this.store.publish(publication);
  }

  /** `10.244.7.0-24`; empty before there is one. */
  get subnet(): string {
    const { podCidrs } = this.self ?? {};
    return podCidrs === undefined || podCidrs.size === 0 ? '' : subnetName(podCidrs);
  }

  /** Stops without a word, as a crash does. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#running;
    this.client.close();
  }
}

/** A vxlan node. */
export function publicationOf(ip: string, mac: string, ipv6?: string): Publication {
  const data = { VNI: 1, VtepMAC: mac };
  const families: [IpFamily, string][] = [[4, ip]];
  if (ipv6 !== undefined) families.push([6, ipv6]);
  return {
    offers: [{ type: 'vxlan', data: new Map(families.map(([family]) => [family, data])) }],
    publicIps: new Map(families.map(([family, text]) => [family, Ip.parse(text)])),
  };
}
