import type { NftExpression } from '../../../kernel/nft/expression.ts';
import { addressField } from '../../../kernel/nft/field.ts';
import type { Cidr } from '../../../net/cidr.ts';
import type { IpFamily } from '../../../net/ip.ts';
import type { LocalTraffic } from '../../settings.ts';
import { prefixMask } from './source-ranges.ts';

const INTERFACE_NAME_LENGTH = 16;

/** Each of these is true of packets of this node's pods; undefined: they cannot be told. */
export function matchLocalTraffic(
  local: LocalTraffic,
  family: IpFamily,
  source: NftExpression,
): NftExpression[][] | undefined {
  switch (local.kind) {
    case 'none':
      return undefined;
    case 'bridge':
      return [matchInterface(deviceBytes(local.device).padEnd(INTERFACE_NAME_LENGTH, '\0'))];
    case 'interface-prefix':
      return [matchInterface(deviceBytes(local.prefix))];
    case 'cidrs': {
      const cidrs = local.cidrs.filter((cidr) => cidr.family === family);
      return cidrs.length === 0 ? undefined : cidrs.map((cidr) => matchCidr(cidr, source));
    }
  }
  return local satisfies never;
}

/** The device that the packet comes in by, or the beginning of its name. */
const matchInterface = (bytes: string): NftExpression[] => [
  { load: 'meta', key: 'iifname', register: 0 },
  { match: 'bytes', register: 0, operator: '==', bytes },
];

/** `source` (or whatever address register 0 is loaded with) lies in the range. */
export function matchCidr(cidr: Cidr, address: NftExpression): NftExpression[] {
  const mask = prefixMask(cidr.prefixLength, cidr.family);
  return [
    address,
    { load: 'bitwise', from: 0, register: 0, mask, xor: '\0'.repeat(mask.length) },
    { match: 'bytes', register: 0, operator: '==', bytes: addressField(cidr.first.toString()) },
  ];
}

const deviceBytes = (name: string): string =>
  Buffer.from(name, 'utf8')
    .toString('latin1')
    .slice(0, INTERFACE_NAME_LENGTH - 1);
