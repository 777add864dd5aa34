import { describeError, FlatnetError } from '../errors/flatnet-error.ts';
import type { Cidr } from '../net/cidr.ts';
import type { Ip, IpFamily } from '../net/ip.ts';

/** How an administrator wants a network divided, as far as it is written. */
export interface SubnetFields {
  /** SubnetLen, IPv6SubnetLen. */
  readonly length: number | undefined;
  /** SubnetMin, IPv6SubnetMin. */
  readonly min: Ip | undefined;
  /** SubnetMax, IPv6SubnetMax. */
  readonly max: Ip | undefined;
}

/** The subnets of which nodes get one each: from `first` to `last`, both the first address of a subnet. */
export interface SubnetRange {
  readonly family: IpFamily;
  readonly prefixLength: number;
  readonly first: Ip;
  readonly last: Ip;
}

/** flannel's limits. A node needs addresses for a tunnel and a bridge device. */
const LIMITS = {
  4: { field: '', longest: 30, smallestNetwork: 28, usual: 24 },
  6: { field: 'IPv6', longest: 126, smallestNetwork: 124, usual: 64 },
} as const;

/**
 * Divides a network by flannel's rules (its subnet.CheckNetworkConfig): /24 (IPv6: /64) for each node where at least
 * four fit, else a quarter; the first subnet is left out, as its first address is that of the network. Throws
 * INVALID_SUBNET_RANGE naming the field.
 */
export function subnetRange(network: Cidr, fields: SubnetFields): SubnetRange {
  const { family } = network;
  const prefixLength = subnetLength(network, fields.length);
  const size = 1n << BigInt((family === 4 ? 32 : 128) - prefixLength);
  const bound = (name: 'SubnetMin' | 'SubnetMax', written: Ip | undefined, otherwise: Ip): Ip => {
    const field = `${LIMITS[family].field}${name}`;
    // flannel cannot tell 0.0.0.0 from nothing.
    if (written === undefined || written.value === 0n) return otherwise;
    if (!network.contains(written)) {
      throw invalid(`${field} ${written.toString()} is not within ${network.toString()}`);
    }
    if (written.value % size !== 0n) {
      throw invalid(
        `${field} ${written.toString()} is not the first address of a /${prefixLength}`,
        'it has to be a multiple of the subnets',
      );
    }
    return written;
  };
  const first = bound('SubnetMin', fields.min, network.first.plus(size));
  const last = bound('SubnetMax', fields.max, network.last.plus(1n - size));
  if (first.value > last.value) {
    const { field } = LIMITS[family];
    throw invalid(`${field}SubnetMin ${first.toString()} is behind ${field}SubnetMax ${last.toString()}`);
  }
  return { family, prefixLength, first, last };
}

/**
 * What is wrong with the division of the networks, a sentence each. Only a store that hands out subnets needs it to be
 * right; with Kubernetes flannel does not look at it (subnet.CheckNetworkConfig).
 */
export function subnetFaults(
  networks: ReadonlyMap<IpFamily, Cidr>,
  subnets: ReadonlyMap<IpFamily, SubnetFields>,
): string[] {
  const faults: string[] = [];
  for (const [family, fields] of subnets) {
    const network = networks.get(family);
    const isWritten = fields.length !== undefined || fields.min !== undefined || fields.max !== undefined;
    if (network === undefined || !isWritten) continue;
    try {
      subnetRange(network, fields);
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      faults.push(describeError(error));
    }
  }
  return faults;
}

/** Whether a node may have this subnet. */
export function isOfRange(range: SubnetRange, subnet: Cidr): boolean {
  return (
    subnet.family === range.family &&
    subnet.prefixLength === range.prefixLength &&
    subnet.ip.value >= range.first.value &&
    subnet.ip.value <= range.last.value
  );
}

/** How many subnets a range has. */
export function subnetCount(range: SubnetRange): bigint {
  const bits = BigInt((range.family === 4 ? 32 : 128) - range.prefixLength);
  return ((range.last.value - range.first.value) >> bits) + 1n;
}

function subnetLength(network: Cidr, written: number | undefined): number {
  const { field, longest, smallestNetwork, usual } = LIMITS[network.family];
  if (written === undefined || written === 0) {
    if (network.prefixLength > smallestNetwork) {
      throw invalid(
        `${field}Network ${network.toString()} is too small to be divided`,
        `/${smallestNetwork} is the smallest that is of use`,
      );
    }
    return network.prefixLength <= usual - 2 ? usual : network.prefixLength + 2;
  }
  if (written > longest) {
    throw invalid(
      `${field}SubnetLen ${written} leaves a node too few addresses`,
      `${longest} is the longest prefix`,
    );
  }
  if (written < network.prefixLength + 2) {
    throw invalid(
      `${field}SubnetLen ${written} does not fit into ${field}Network ${network.toString()} four times`,
      'the first subnet is not used, so that at least four are needed',
    );
  }
  return written;
}

const invalid = (message: string, hint?: string): FlatnetError =>
  new FlatnetError(message, { code: 'INVALID_SUBNET_RANGE', ...(hint === undefined ? {} : { hint }) });
