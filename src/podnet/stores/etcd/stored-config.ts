import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { NetworkConfig } from '../../network-config.ts';
import { subnetRange, type SubnetFields, type SubnetRange } from '../../subnet-range.ts';
import type { SubnetRanges } from './subnet-choice.ts';

/** Reads flannel's net-conf.json. Throws FlatnetError with a line for each field that is wrong. */
export type ReadNetworkConfig = (
  text: string,
  name: string,
) => { readonly network: NetworkConfig; readonly warnings: readonly string[] };

/** The configuration as it stands in etcd. */
export interface StoredConfig {
  readonly network: NetworkConfig;
  readonly ranges: SubnetRanges;
  /** As it was written. */
  readonly text: string;
  readonly warnings: readonly string[];
}

const UNDIVIDED: SubnetFields = { length: undefined, min: undefined, max: undefined };

/** Throws INVALID_CONFIG or INVALID_SUBNET_RANGE naming key and field. */
export function readStoredConfig(key: string, text: string, read: ReadNetworkConfig): StoredConfig {
  const name = `etcd ${key}`;
  const { network, warnings } = read(text, name);
  const ranges = new Map<IpFamily, SubnetRange>();
  for (const [family, cidr] of network.networks) {
    try {
      ranges.set(family, subnetRange(cidr, network.subnets.get(family) ?? UNDIVIDED));
    } catch (error) {
      if (!(error instanceof FlatnetError)) throw error;
      throw new FlatnetError(`${name}: ${error.message}`, {
        code: error.code,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        cause: error,
      });
    }
  }
  return { network, ranges, text, warnings };
}
