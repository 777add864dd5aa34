import { FakeNft } from '../../../src/kernel/nft/fake.ts';
import { FieldReader } from '../../../src/kernel/nft/field.ts';
import type { NftElement, NftKernel } from '../../../src/kernel/nft/objects.ts';
import { NftablesBackend } from '../../../src/proxy/backends/nftables/backend.ts';
import { isStandard, parseBalancerChain } from '../../../src/proxy/backends/nftables/balancer.ts';
import { NUMBER_UNIT } from '../../../src/proxy/backends/nftables/service-code.ts';
import { proxySets, type ProxySets } from '../../../src/proxy/backends/nftables/sets.ts';
import { NftablesTracer } from '../../../src/proxy/backends/nftables/tracer.ts';
import type { ProxySettings } from '../../../src/proxy/settings.ts';
import type { RandomMode, Subject } from './random-suite.ts';
import type { SlowMode } from './slow-model.ts';

export const NFTABLES_RULES: SlowMode = {
  unusedPort: 'reject',
  unallocated: 'drop',
  hairpin: 'here',
  deniedWithoutEndpoints: 'drop',
  externalWithoutEndpointsFromNode: 'reject',
  refusesEverywhere: false,
  loopback: false,
  proxied: false,
  protocols: ['TCP', 'UDP', 'SCTP'],
};

export const FAKE_NFTABLES: RandomMode = {
  name: 'nftables',
  rules: NFTABLES_RULES,
  async open(settings) {
    const nft = new FakeNft();
    return Promise.resolve(nftablesSubject(new NftablesBackend(nft, settings), nft, settings));
  },
};

export function nftablesSubject(backend: NftablesBackend, nft: NftKernel, settings: ProxySettings): Subject {
  return {
    backend,
    observe: async () =>
      Promise.resolve(
        settings.families.flatMap((family) =>
          new CanonicalTable(nft, proxySets(family)).lines().map((line) => `IPv${family} ${line}`),
        ),
      ),
    tracer: async (node) => Promise.resolve(new NftablesTracer(nft, settings, node)),
    close: async () => await backend.close(),
  };
}

/**
 * A table with the numbers of service ports replaced by what leads to them, and endpoints by themselves instead of by
 * their numbers, of which there must be no gaps.
 */
class CanonicalTable {
  readonly #nft: NftKernel;
  readonly #sets: ProxySets;
  readonly #names = new Map<number, string>();

  constructor(nft: NftKernel, sets: ProxySets) {
    this.#nft = nft;
    this.#sets = sets;
    const coded = [
      ...this.#elements('serviceIps').map(
        ([key, value]) => [Math.floor(numberIn(value) / NUMBER_UNIT), key] as const,
      ),
      ...this.#elements('serviceNodePorts').map(
        ([key, value]) => [Math.floor(numberIn(value) / NUMBER_UNIT), key] as const,
      ),
      ...this.#elements('firewallIps').map(([key, value]) => [rangesNumber(value), key] as const),
    ];
    for (const [number, key] of coded) {
      const before = this.#names.get(number);
      if (before === undefined || hex(key) < before) this.#names.set(number, hex(key));
    }
  }

  lines(): string[] {
    const kinded = ([key, value]: readonly [string, string]): string => {
      const code = numberIn(value);
      return `${hex(key)} ${this.#name(Math.floor(code / NUMBER_UNIT))} kind ${code % NUMBER_UNIT}`;
    };
    return [
      ...this.#elements('serviceIps').map((one) => `service ${kinded(one)}`),
      ...this.#elements('serviceNodePorts').map((one) => `node port ${kinded(one)}`),
      ...this.#elements('pools').map(([key, value]) => `pool ${this.#pool(numberIn(key))} ${hex(value)}`),
      ...this.#endpoints(),
      ...this.#plain('noEndpointServices'),
      ...this.#plain('noEndpointNodePorts'),
      ...this.#elements('firewallIps').map(
        ([key, value]) => `guarded ${hex(key)} ${this.#name(rangesNumber(value))}`,
      ),
      ...this.#elements('sourceRanges').map(([key]) => this.#range(key)),
      ...this.#plain('clusterIps'),
      ...this.#plain('hairpins'),
      ...this.#chains(),
    ].sort();
  }

  #endpoints(): string[] {
    const slots = new Map(this.#elements('slots').map(([key, value]) => [hex(key), hex(value)]));
    const own = new Set([...slots].map(([key, value]) => key.slice(0, 8) + value));
    const draws = new Map<number, number[]>();
    const counted = [...this.#elements('slots'), ...this.#elements('endpoints')];
    for (const [key] of counted.filter(([each]) => !own.has(hex(each)))) {
      const pool = numberIn(key);
      draws.set(pool, [...(draws.get(pool) ?? []), numberIn(key.slice(4))]);
    }
    return [
      ...this.#elements('endpoints').map(
        ([key, value]) => `endpoint ${this.#pool(numberIn(key))} ${hex(value)}`,
      ),
      ...[...draws].map(
        ([pool, numbers]) => `draws ${this.#pool(pool)} ${numbers.sort((a, b) => a - b).join()}`,
      ),
    ];
  }

  #range(key: string): string {
    const number = numberIn(key);
    return `range ${this.#name(Math.floor(number / 256))} /${number % 256} ${hex(key.slice(4))}`;
  }

  /** All but those for affinity times that few Services have, which stay when nobody needs them any more. */
  #chains(): string[] {
    const counts = this.#nft.ruleCounts(this.#sets.table);
    return (this.#nft.chains(this.#sets.table) ?? []).flatMap((chain) => {
      const parsed = parseBalancerChain(chain);
      if (parsed !== undefined && !isStandard(parsed.way, parsed.balancer)) return [];
      return [`chain ${chain} ${counts.get(chain) ?? 0}`];
    });
  }

  #plain(name: 'noEndpointServices' | 'noEndpointNodePorts' | 'clusterIps' | 'hairpins'): string[] {
    return this.#elements(name).map(([key, value]) => `${name} ${hex(key)} ${hex(value)}`);
  }

  #elements(
    name: Exclude<keyof ProxySets, 'table' | 'large' | 'sticky'>,
  ): (readonly [key: string, value: string])[] {
    return this.#nft.elements(this.#sets[name]).map(({ key, value }: NftElement) => [key, value ?? '']);
  }

  #pool(pool: number): string {
    return `${this.#name(Math.floor(pool / NUMBER_UNIT))} ${pool % NUMBER_UNIT}`;
  }

  #name(number: number): string {
    return this.#names.get(number) ?? `nobody's number ${number}`;
  }
}

const hex = (bytes: string): string => Buffer.from(bytes, 'latin1').toString('hex');
const numberIn = (field: string): number => new FieldReader(field).index();
const rangesNumber = (field: string): number => Math.floor(numberIn(field) / 256);
