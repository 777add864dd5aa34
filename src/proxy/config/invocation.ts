import { FlatnetError } from '../../errors/flatnet-error.ts';
import { parseBindAddress, type BindAddress } from './bind-address.ts';
import { describeIssue, fieldOf } from './describe-issue.ts';
import { PROXY_FLAGS, flagOf, flagsToFile } from './flags.ts';
import { loadKubeProxyConfig } from './parse.ts';
import { kubeProxySchema, type KubeProxyConfig } from './proxy-config.ts';

/** What `ProxyFlag.type.read` made of the flags that were given, by name without dashes. */
export type FlagValues = ReadonlyMap<string, unknown>;

export interface Invocation {
  readonly config: KubeProxyConfig;
  /** Flags that say nothing because the file is what counts; with their dashes. */
  readonly ignored: readonly string[];
  /** What else there is to say of the flags that were given, a sentence each. */
  readonly notes: readonly string[];
}

/**
 * The configuration that a file, or else the flags make, as kube-proxy takes them: beside --config only the flags for
 * the node's name and for logging count. Throws INVALID_CONFIG for the file, INVALID_FLAG for flags.
 */
export async function readInvocation(flags: FlagValues): Promise<Invocation> {
  const path = flags.get('config');
  if (typeof path !== 'string' || path === '')
    return { config: fromFlags(flags), ignored: [], notes: notesOn(flags) };
  const file = await loadKubeProxyConfig(path);
  const counting = new Set(PROXY_FLAGS.filter((flag) => flag.besideFile === true).map((flag) => flag.name));
  const ignored = [...flags.keys()].filter((name) => !counting.has(name)).map((name) => `--${name}`);
  const overriding = fromFlags(new Map([...flags].filter(([name]) => counting.has(name))));
  const given = [...flags.keys()].filter(
    (name) => name === 'v' || name === 'vmodule' || name.startsWith('log'),
  );
  const logging = { ...file.logging, ...(given.length > 0 ? onlyGiven(overriding.logging, given) : {}) };
  return {
    config: { ...file, logging, hostnameOverride: hostname(flags) ?? file.hostnameOverride },
    ignored,
    notes: notesOn(flags),
  };
}

function notesOn(flags: FlagValues): string[] {
  return PROXY_FLAGS.filter(({ name }) => flags.has(name)).flatMap(({ name, deprecated, withoutEffect }) => [
    ...(deprecated === undefined ? [] : [`--${name} is deprecated: ${deprecated}`]),
    ...(withoutEffect === undefined ? [] : [`--${name} has no effect: ${withoutEffect}`]),
  ]);
}

type Logging = KubeProxyConfig['logging'];

function onlyGiven(logging: Logging, given: readonly string[]): Partial<Logging> {
  const sections = new Set(
    PROXY_FLAGS.filter(({ name }) => given.includes(name)).flatMap(({ fields }) =>
      fields.map((field) => field.split('.')[1]),
    ),
  );
  return Object.fromEntries(Object.entries(logging).filter(([name]) => sections.has(name)));
}

function fromFlags(flags: FlagValues): KubeProxyConfig {
  const result = kubeProxySchema.safeParse(flagsToFile(flags));
  if (!result.success) {
    const problems = result.error.issues.flatMap((issue) => {
      const field = fieldOf(issue.path);
      return describeIssue({ ...issue, path: [] }).map((message) => `${flagOf(field) ?? field}: ${message}`);
    });
    throw new FlatnetError([...new Set(problems)].join('; '), { code: 'INVALID_FLAG' });
  }
  const config = result.data;
  return {
    ...config,
    hostnameOverride: hostname(flags) ?? config.hostnameOverride,
    healthzBindAddress: server(flags, 'healthz', config.healthzBindAddress),
    metricsBindAddress: server(flags, 'metrics', config.metricsBindAddress),
  };
}

/** kube-proxy takes a name that is blank for a mistake, and makes it lower case. */
function hostname(flags: FlagValues): string | undefined {
  const given = flags.get('hostname-override');
  if (typeof given !== 'string' || given === '') return undefined;
  const name = given.trim().toLowerCase();
  if (name !== '') return name;
  throw new FlatnetError('--hostname-override: must not be blank', { code: 'INVALID_FLAG' });
}

/** The deprecated flag for a port gives the port to an address that has none, and 0 switches the server off. */
function server(
  flags: FlagValues,
  name: 'healthz' | 'metrics',
  address: BindAddress | undefined,
): BindAddress | undefined {
  const port = flags.get(`${name}-port`);
  const text = flags.get(`${name}-bind-address`);
  if (port === 0 || text === '' || address === undefined) return undefined;
  if (port === undefined) return address;
  if (typeof port !== 'number' || port < 1 || port > 65_535) {
    throw new FlatnetError(`--${name}-port: must be a port from 1 to 65535, or 0 for no server`, {
      code: 'INVALID_FLAG',
    });
  }
  const hasPort = typeof text === 'string' && parseBindAddress(text) !== undefined;
  return hasPort ? address : { ...address, port };
}
