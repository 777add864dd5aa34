import { FieldReader } from '../../../kernel/nft/field.ts';
import type { NftChange, NftElement } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';

type Field = 'address' | 'protocol' | 'port' | 'number';

const SERVICE: readonly Field[] = ['address', 'protocol', 'port'];
const NODE_PORT: readonly Field[] = ['protocol', 'port'];
const ENDPOINT: readonly Field[] = ['address', 'port'];

const KEYS: Readonly<Record<string, readonly Field[]>> = {
  'service-ips': SERVICE,
  'service-nodeports': NODE_PORT,
  balancers: ['number'],
  'nodeport-balancers': ['number'],
  endpoints: [...SERVICE, 'number'],
  'nodeport-endpoints': [...NODE_PORT, 'number'],
  'no-endpoint-services': SERVICE,
  'no-endpoint-nodeports': NODE_PORT,
  'cluster-ips': ['address'],
  'nodeport-ips': ['address'],
  'hairpin-connections': ['address', 'address'],
  'affinity-services': SERVICE,
  'affinity-nodeports': NODE_PORT,
  learners: ['number'],
  affinity: ['address', ...SERVICE],
};

const VALUES: Readonly<Record<string, readonly Field[]>> = {
  'service-ips': ['number'],
  'service-nodeports': ['number'],
  endpoints: ENDPOINT,
  'nodeport-endpoints': ENDPOINT,
  'affinity-services': ['number'],
  'affinity-nodeports': ['number'],
  affinity: ENDPOINT,
};

/** What a transaction does, one line for each element: `+ ip endpoints 10.96.0.10 . UDP . 53 . 0 : 10.244.0.3 . 53`. */
export function describeChanges(changes: readonly NftChange[]): string[] {
  return changes.flatMap((change) => {
    if (change.operation === 'write-chain') return [`+ ${change.table.family} chain ${change.chain}`];
    const { family, name } = { family: change.set.table.family, name: change.set.name };
    const sign = change.operation === 'add' ? '+' : '-';
    return Array.from(
      change.elements,
      (element) => `${sign} ${family} ${name} ${describeElement(family === 'ip' ? 4 : 6, name, element)}`,
    );
  });
}

/** One element of one of the proxy's sets, with names of fields resolved. */
function describeElement(family: IpFamily, set: string, { key, value }: NftElement): string {
  const keyText = describeFields(key, KEYS[set] ?? [], family);
  if (value === undefined) return keyText;
  const fields = VALUES[set];
  return `${keyText} : ${fields === undefined ? value : describeFields(value, fields, family)}`;
}

function describeFields(bytes: string, fields: readonly Field[], family: IpFamily): string {
  const reader = new FieldReader(bytes);
  return fields.map((field) => readField(reader, field, family)).join(' . ');
}

function readField(reader: FieldReader, field: Field, family: IpFamily): string {
  switch (field) {
    case 'address':
      return reader.address(family);
    case 'protocol':
      return reader.protocol() ?? 'unknown';
    case 'port':
      return String(reader.port());
    case 'number':
      return String(reader.index());
  }
  return field satisfies never;
}
