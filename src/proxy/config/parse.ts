import { readConfigFile } from './config-file.ts';
import { describeIssue } from './describe-issue.ts';
import { kubeProxySchema, type KubeProxyConfig } from './proxy-config.ts';
import { invalidConfig, readYaml } from './read-yaml.ts';
import { API_VERSION, KIND } from './schema.ts';

/** Reads and checks a file. Throws INVALID_CONFIG that names the file and every field that is wrong, with what to do. */
export async function loadKubeProxyConfig(path: string): Promise<KubeProxyConfig> {
  return parseKubeProxyConfig(await readConfigFile(path), path);
}

export function parseKubeProxyConfig(text: string, name: string): KubeProxyConfig {
  const value = readYaml(text, name);
  checkHead(value, name);
  const result = kubeProxySchema.safeParse(value);
  if (result.success) return result.data;
  throw invalidConfig(
    name,
    result.error.issues.flatMap((issue) => describeIssue(issue, knownFields())),
  );
}

const HEAD = { apiVersion: API_VERSION, kind: KIND };

/** What kube-proxy does without a file and flags. */
export function defaultKubeProxyConfig(): KubeProxyConfig {
  return kubeProxySchema.parse(HEAD);
}

/** Where it is another kind of object, that is the one thing to say. */
function checkHead(value: unknown, name: string): void {
  if (value === null || value === undefined) throw invalidConfig(name, ['is empty']);
  if (typeof value !== 'object' || Array.isArray(value))
    throw invalidConfig(name, ['must be an object with fields']);
  const given = value as Record<string, unknown>;
  const wrong = Object.entries(HEAD)
    .filter(([field, wanted]) => given[field] !== wanted)
    .map(([field, wanted]) => {
      const found = given[field] ?? '';
      return found === ''
        ? `${field}: is missing; it must be ${wanted}`
        : `${field}: ${JSON.stringify(found)} must be ${wanted}`;
    });
  if (wrong.length === 0) return;
  const isConfigMap = given['kind'] === 'ConfigMap';
  throw invalidConfig(
    name,
    wrong,
    isConfigMap ? 'give the text under its key config.conf as a file' : undefined,
  );
}

let known: readonly string[] | undefined;

/** Every field that there is, `iptables.syncPeriod`. */
export function knownFields(): readonly string[] {
  known ??= pathsOf(defaultKubeProxyConfig(), '');
  return known;
}

function pathsOf(value: object, prefix: string): string[] {
  return Object.entries(value).flatMap(([key, inner]: [string, unknown]) => {
    const isSection =
      typeof inner === 'object' && inner !== null && Object.getPrototypeOf(inner) === Object.prototype;
    const deeper = isSection ? pathsOf(inner, `${prefix}${key}.`) : [];
    return [`${prefix}${key}`, ...deeper];
  });
}
