import { FieldReader } from '../../../kernel/nft/field.ts';
import { isElementsChange, type NftChange, type NftElement } from '../../../kernel/nft/objects.ts';
import type { IpFamily } from '../../../net/ip.ts';

type Field = 'address' | 'protocol' | 'port' | 'number';

const SERVICE: readonly Field[] = ['address', 'protocol', 'port'];
const NODE_PORT: readonly Field[] = ['protocol', 'port'];
const ENDPOINT: readonly Field[] = ['address', 'port'];

/** Fields of keys and of values; verdicts are told as they are. */
const FIELDS: Readonly<Record<string, readonly [key: readonly Field[], value?: readonly Field[]]>> = {
  'service-ips': [SERVICE, ['number']],
  'service-nodeports': [NODE_PORT, ['number']],
  pools: [['number'], ['number']],
  endpoints: [['number', 'number'], ENDPOINT],
  slots: [['number', 'number'], ['number']],
  affinity: [['address', 'number'], ['number']],
  'no-endpoint-services': [SERVICE, ['number']],
  'no-endpoint-nodeports': [NODE_PORT, ['number']],
  'firewall-ips': [SERVICE, ['number']],
  'source-ranges': [['number', 'address']],
  'cluster-ips': [['address']],
  'hairpin-connections': [['address', 'address']],
  draws: [['number', 'number'], ['number']],
};

/** Of maps that lead to chains. */
const VERDICTS: readonly [readonly Field[], undefined] = [['number'], undefined];

/** What a transaction does, one line for each element: `+ ip endpoints 4 . 0 : 10.244.0.3 . 53`. */
export function describeChanges(changes: readonly NftChange[]): string[] {
  return changes.flatMap((change) => {
    if (!isElementsChange(change)) return describeStructure(change);
    const { family, name } = { family: change.set.table.family, name: change.set.name };
    const sign = change.operation === 'add' ? '+' : '-';
    return Array.from(
      change.elements,
      (element) => `${sign} ${family} ${name} ${describeElement(family === 'ip' ? 4 : 6, name, element)}`,
    );
  });
}

type StructureChange = Exclude<NftChange, { elements: unknown }>;

function describeStructure(change: StructureChange): string {
  switch (change.operation) {
    case 'add-table':
      return `+ ${change.table.family} table ${change.table.name}`;
    case 'delete-table':
      return `- ${change.table.family} table ${change.table.name}`;
    case 'add-set':
      return `+ ${change.set.table.family} ${change.set.kind === 'set' ? 'set' : 'map'} ${change.set.name}`;
    case 'write-chain':
      return `+ ${change.table.family} chain ${change.chain}`;
  }
  return change satisfies never;
}

/** One element of one of the proxy's sets, with names of fields resolved. */
function describeElement(family: IpFamily, set: string, { key, value }: NftElement): string {
  const [keyFields, valueFields] = FIELDS[set] ?? VERDICTS;
  const keyText = describeFields(key, keyFields, family);
  if (value === undefined || value === '') return keyText;
  return `${keyText} : ${valueFields === undefined ? value : describeFields(value, valueFields, family)}`;
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
