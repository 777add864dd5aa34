import { cpus, totalmem } from 'node:os';
import type { Container, EnvFromSource, EnvVar } from 'kubernetes-types/core/v1.js';
import { FlatnetError } from '../../errors/flatnet-error.ts';
import { DEFAULT_PATH, type Image } from '../images/catalogue.ts';
import { expand } from './expansion.ts';
import { fieldValue, resourceValue, type PodFacts } from './pod-facts.ts';
import type { KeyedData, PodObjects } from './pod-objects.ts';

export interface EnvironmentInput {
  readonly container: Container;
  readonly image: Image;
  readonly hostname: string;
  readonly facts: PodFacts;
  readonly services: ReadonlyMap<string, string>;
  readonly objects: PodObjects;
}

/**
 * The whole environment of a container; later ones win: the image's, the Services', envFrom, env. Values of `env`
 * may refer to variables before them. Throws CONFIG_MISSING naming the object and key.
 */
export async function containerEnvironment(input: EnvironmentInput): Promise<Map<string, string>> {
  const variables = new Map<string, string>([
    ['PATH', DEFAULT_PATH],
    ['HOSTNAME', input.hostname],
    ['HOME', '/root'],
    ...Object.entries(input.image.env ?? {}),
    ...input.services,
  ]);
  for (const source of input.container.envFrom ?? []) {
    for (const [key, value] of await fromSource(source, input)) variables.set(key, value);
  }
  for (const variable of input.container.env ?? []) {
    const value = await valueOf(variable, variables, input);
    if (value !== undefined) variables.set(variable.name, value);
  }
  return variables;
}

async function fromSource(source: EnvFromSource, input: EnvironmentInput): Promise<[string, string][]> {
  const namespace = input.facts.pod.metadata?.namespace ?? 'default';
  const { configMapRef, secretRef } = source;
  const data =
    configMapRef === undefined
      ? await input.objects.secret(namespace, secretRef?.name ?? '', secretRef?.optional === true)
      : await input.objects.configMap(namespace, configMapRef.name ?? '', configMapRef.optional === true);
  return [...(data ?? [])]
    .map(([key, value]): [string, string] => [`${source.prefix ?? ''}${key}`, value.toString()])
    .filter(([name]) => isVariableName(name));
}

/** As the API accepts for `env[].name`; keys that are no such names are left out of envFrom. */
function isVariableName(name: string): boolean {
  return /^[-._a-zA-Z][-._a-zA-Z0-9]*$/.test(name);
}

async function valueOf(
  variable: EnvVar,
  known: ReadonlyMap<string, string>,
  input: EnvironmentInput,
): Promise<string | undefined> {
  const source = variable.valueFrom;
  if (source === undefined) return expand(variable.value ?? '', known);
  if (source.fieldRef !== undefined) return fieldValue(source.fieldRef, input.facts);
  if (source.resourceFieldRef !== undefined) {
    const node = { cpus: cpus().length, memoryBytes: totalmem() };
    return resourceValue(source.resourceFieldRef, input.container, node);
  }
  const namespace = input.facts.pod.metadata?.namespace ?? 'default';
  const reference = source.configMapKeyRef ?? source.secretKeyRef;
  if (reference === undefined) return '';
  const name = reference.name ?? '';
  const optional = reference.optional === true;
  const data =
    source.configMapKeyRef === undefined
      ? await input.objects.secret(namespace, name, optional)
      : await input.objects.configMap(namespace, name, optional);
  return keyOf(data, reference.key, name, optional);
}

function keyOf(
  data: KeyedData | undefined,
  key: string,
  name: string,
  optional: boolean,
): string | undefined {
  const value = data?.get(key);
  if (value !== undefined || optional) return value?.toString();
  throw new FlatnetError(`couldn't find key ${key} in "${name}"`, {
    code: 'CONFIG_MISSING',
    retryable: true,
  });
}
