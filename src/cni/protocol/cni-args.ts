import { FlatnetError } from '../../errors/flatnet-error.ts';
import { Ip } from '../../net/ip.ts';
import type { Mac } from '../../net/mac.ts';
import { CNI_CODE, CniError } from './cni-error.ts';
import { requestedIp, unicastMac, type RequestedIp } from './runtime-config.ts';

/** CNI_ARGS: `KEY=VALUE;KEY=VALUE`, what runtimes said before there was `runtimeConfig`. */
export interface CniArgs {
  /** `namespace/name` of K8S_POD_NAMESPACE and K8S_POD_NAME. */
  readonly pod: string | undefined;
  readonly ip: RequestedIp | undefined;
  /** For the address of `ip` (plugin `static`). */
  readonly gateway: Ip | undefined;
  readonly mac: Mac | undefined;
}

/** Keys of the plugins that this one does the work of, and those of kubelet. */
const KNOWN = [
  'IgnoreUnknown',
  'IP',
  'GATEWAY',
  'MAC',
  'K8S_POD_NAMESPACE',
  'K8S_POD_NAME',
  'K8S_POD_INFRA_CONTAINER_ID',
  'K8S_POD_UID',
];

/** Throws CniError 4 that names the key. */
export function parseCniArgs(text: string): CniArgs {
  const values = new Map<string, string>();
  for (const pair of text.split(';').filter((part) => part !== '')) {
    const equals = pair.indexOf('=');
    if (equals < 1) throw invalid(`${JSON.stringify(pair)} is not KEY=VALUE`);
    values.set(pair.slice(0, equals), pair.slice(equals + 1));
  }
  const tolerant = /^(1|true|t)$/i.test(values.get('IgnoreUnknown') ?? '');
  const unknown = [...values.keys()].filter((key) => !KNOWN.includes(key));
  if (unknown.length > 0 && !tolerant) {
    throw invalid(`unknown ${unknown.join(', ')}`, 'IgnoreUnknown=1 among them lets unknown ones pass');
  }
  const name = values.get('K8S_POD_NAME');
  return {
    pod: name === undefined ? undefined : `${values.get('K8S_POD_NAMESPACE') ?? ''}/${name}`,
    ip: read(values, 'IP', (value) => requestedIp.parse(value)),
    gateway: read(values, 'GATEWAY', (value) => Ip.parse(value)),
    mac: read(values, 'MAC', (value) => unicastMac.parse(value)),
  };
}

/** For the log, of what may not even be well-formed. */
export function podOf(text: string | undefined): string | undefined {
  const value = (key: string): string | undefined =>
    new RegExp(`(?:^|;)${key}=([^;]*)`).exec(text ?? '')?.[1];
  const name = value('K8S_POD_NAME');
  return name === undefined ? undefined : `${value('K8S_POD_NAMESPACE') ?? ''}/${name}`;
}

function read<T>(
  values: ReadonlyMap<string, string>,
  key: string,
  parse: (value: string) => T,
): T | undefined {
  const value = values.get(key);
  if (value === undefined || value === '') return undefined;
  try {
    return parse(value);
  } catch (cause) {
    throw invalid(
      `${key}: ${JSON.stringify(value)} is not valid`,
      cause instanceof FlatnetError ? cause.hint : undefined,
    );
  }
}

const invalid = (what: string, hint?: string): CniError =>
  new CniError(CNI_CODE.invalidEnvironment, `CNI_ARGS: ${what}`, hint);
