import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';
import { FlatnetError } from '../errors/flatnet-error.ts';
import type { ClusterAccess, Credentials } from './access.ts';
import { ExecConfig, ExecCredentials } from './exec-credential.ts';
import { TokenFile } from './token-file.ts';

const Cluster = z.object({
  server: z.url({ protocol: /^https?$/ }),
  'certificate-authority': z.string().optional(),
  'certificate-authority-data': z.base64().optional(),
  'insecure-skip-tls-verify': z.boolean().optional(),
  'tls-server-name': z.string().optional(),
  'proxy-url': z.undefined({ error: 'is not supported' }).optional(),
});
const User = z.object({
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  'client-certificate': z.string().optional(),
  'client-certificate-data': z.base64().optional(),
  'client-key': z.string().optional(),
  'client-key-data': z.base64().optional(),
  exec: ExecConfig.nullish(),
  as: z.undefined({ error: 'impersonation is not supported' }).optional(),
  'auth-provider': z.undefined({ error: 'is not supported: use an exec plugin' }).optional(),
});
const Context = z.object({ cluster: z.string(), user: z.string(), namespace: z.string().optional() });
type Cluster = z.infer<typeof Cluster>;
type User = z.infer<typeof User>;

/** Entries are validated only when they are used: a broken one does not stop the others. */
const Entries = z.array(z.object({ name: z.string() }).loose()).nullish();
const Kubeconfig = z.object({
  'current-context': z.string().nullish(),
  clusters: Entries,
  contexts: Entries,
  users: Entries,
});

export interface KubeconfigOptions {
  /** In place of `current-context`. */
  readonly context?: string | undefined;
}

type Section = 'clusters' | 'contexts' | 'users';
const FIELD_OF: Readonly<Record<Section, string>> = {
  clusters: 'cluster',
  contexts: 'context',
  users: 'user',
};

interface ConfigFile {
  readonly path: string;
  readonly content: z.infer<typeof Kubeconfig>;
}

/**
 * Reads a kubeconfig: `path`, else the files of the environment variable KUBECONFIG (merged: the first that
 * names a thing wins), else `~/.kube/config`. Relative paths in a file are relative to that file.
 * Throws KUBECONFIG_INVALID naming file and field, KUBECONFIG_MISSING when there is none.
 */
export async function loadKubeconfig(path?: string, options: KubeconfigOptions = {}): Promise<ClusterAccess> {
  const files = await readFiles(path);
  const named = files.map((file) => file.content['current-context']).find((name) => name);
  const contextName = options.context ?? named;
  if (contextName === undefined || contextName === null) {
    throw invalid(files[0]?.path ?? '', 'current-context', 'is not set');
  }
  const context = lookUp(files, 'contexts', contextName, Context);
  const cluster = lookUp(files, 'clusters', context.value.cluster, Cluster);
  const user = lookUp(files, 'users', context.value.user, User);
  return {
    server: cluster.value.server,
    certificateAuthority: await pem(cluster.path, cluster.value, 'certificate-authority'),
    insecureSkipTlsVerify: cluster.value['insecure-skip-tls-verify'],
    tlsServerName: cluster.value['tls-server-name'],
    namespace: context.value.namespace ?? 'default',
    credentials: await credentialSource(user.path, user.value, cluster.value),
  };
}

async function readFiles(path: string | undefined): Promise<ConfigFile[]> {
  const listed = process.env['KUBECONFIG']?.split(delimiter).filter((entry) => entry !== '') ?? [];
  const paths = path !== undefined ? [path] : listed.length > 0 ? listed : [join(homedir(), '.kube/config')];
  const files: ConfigFile[] = [];
  for (const candidate of paths) {
    const text = await readFile(candidate, 'utf8').catch((error: NodeJS.ErrnoException) => {
      // As kubectl does, files of the list that are not there are passed over.
      if (error.code === 'ENOENT') return undefined;
      throw new FlatnetError(`cannot read the kubeconfig ${candidate}: ${error.message}`, {
        code: 'KUBECONFIG_MISSING',
        cause: error,
      });
    });
    if (text !== undefined) files.push({ path: resolve(candidate), content: parseFile(candidate, text) });
  }
  if (files.length > 0) return files;
  throw new FlatnetError(`there is no kubeconfig at ${paths.join(', ')}`, {
    code: 'KUBECONFIG_MISSING',
    hint: 'name one with --kubeconfig FILE or the environment variable KUBECONFIG',
  });
}

function parseFile(path: string, text: string): z.infer<typeof Kubeconfig> {
  let raw: unknown;
  try {
    raw = parse(text);
  } catch (error) {
    throw invalid(path, 'file', `is not YAML: ${error instanceof Error ? error.message : String(error)}`);
  }
  const result = Kubeconfig.safeParse(raw);
  if (!result.success) throw invalidField(path, '', result.error);
  return result.data;
}

function lookUp<T>(
  files: readonly ConfigFile[],
  section: Section,
  name: string,
  schema: z.ZodType<T>,
): { path: string; value: T } {
  for (const { path, content } of files) {
    const entry = content[section]?.find((candidate) => candidate.name === name);
    if (entry === undefined) continue;
    const field = FIELD_OF[section];
    const result = schema.safeParse(entry[field] ?? {});
    if (!result.success) throw invalidField(path, `${section}[name=${name}].${field}`, result.error);
    return { path, value: result.data };
  }
  throw invalid(files.map((file) => file.path).join(', '), section, `have none with the name "${name}"`);
}

type CredentialSource = (refresh: boolean) => Promise<Credentials>;

async function credentialSource(path: string, user: User, cluster: Cluster): Promise<CredentialSource> {
  const certificate = await pem(path, user, 'client-certificate');
  const key = await pem(path, user, 'client-key');
  if ((certificate === undefined) !== (key === undefined)) {
    const missing = certificate === undefined ? 'client-certificate' : 'client-key';
    throw invalid(path, missing, 'is missing: certificate and key belong together');
  }
  const own = { certificate, key };
  if (user.tokenFile !== undefined) {
    const file = new TokenFile(resolve(dirname(path), user.tokenFile));
    return async (refresh) => ({ ...own, authorization: `Bearer ${await file.read(refresh)}` });
  }
  if (user.token !== undefined) return async () => ({ ...own, authorization: `Bearer ${user.token}` });
  if (user.username !== undefined) {
    const basic = Buffer.from(`${user.username}:${user.password ?? ''}`).toString('base64');
    return async () => ({ ...own, authorization: `Basic ${basic}` });
  }
  if (user.exec === undefined || user.exec === null) return async () => own;
  const authority = await pem(path, cluster, 'certificate-authority');
  const plugin = new ExecCredentials(user.exec, dirname(path), {
    server: cluster.server,
    ...(authority === undefined
      ? {}
      : { 'certificate-authority-data': Buffer.from(authority).toString('base64') }),
    ...(cluster['insecure-skip-tls-verify'] === true ? { 'insecure-skip-tls-verify': true } : {}),
    ...(cluster['tls-server-name'] === undefined ? {} : { 'tls-server-name': cluster['tls-server-name'] }),
  });
  return async (refresh) => plugin.get(refresh);
}

/** The PEM text of `<field>-data`, which wins, or of the file that `<field>` names. */
async function pem<F extends string>(
  path: string,
  entry: { readonly [K in F | `${F}-data`]?: string | undefined },
  field: F,
): Promise<string | undefined> {
  const data: string | undefined = entry[`${field}-data`];
  if (data !== undefined) return Buffer.from(data, 'base64').toString('utf8');
  const file: string | undefined = entry[field];
  if (file === undefined || file === '') return undefined;
  try {
    return await readFile(resolve(dirname(path), file), 'utf8');
  } catch (error) {
    throw invalid(path, field, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function invalidField(path: string, prefix: string, error: z.ZodError): FlatnetError {
  const issue = error.issues[0];
  const field = [prefix, ...(issue?.path ?? []).map(String)].filter((part) => part !== '').join('.');
  return invalid(path, field, issue?.message ?? 'is not valid');
}

function invalid(path: string, field: string, what: string): FlatnetError {
  return new FlatnetError(`kubeconfig ${path}: ${field}: ${what}`, { code: 'KUBECONFIG_INVALID' });
}
