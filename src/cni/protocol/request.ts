import * as z from 'zod';
import { CNI_CODE, CniError } from './cni-error.ts';
import type { PluginCall } from './frame.ts';
import { runtimeConfigSchema, type RuntimeConfig } from './runtime-config.ts';
import { SUPPORTED_VERSIONS, hasCheck, isSupported, type CniVersion } from './version.ts';

/** The interface of a container that a request is about. */
export interface Attachment {
  readonly containerId: string;
  readonly ifName: string;
}

export interface AddRequest extends Attachment {
  readonly command: 'ADD';
  readonly cniVersion: CniVersion;
  readonly netns: string;
  readonly runtimeConfig: RuntimeConfig;
}

interface DelRequest extends Attachment {
  readonly command: 'DEL';
  readonly cniVersion: CniVersion;
  /** Absent when the namespace is gone already. */
  readonly netns: string | undefined;
}

export interface CheckRequest extends Attachment {
  readonly command: 'CHECK';
  readonly cniVersion: CniVersion;
  readonly netns: string;
  /** Addresses with prefix length that ADD has reported for the container, as its result wrote them. */
  readonly expectedAddresses: readonly string[];
  readonly runtimeConfig: RuntimeConfig;
}

export type CniRequest = AddRequest | DelRequest | CheckRequest | { readonly command: 'VERSION' };

const address = z.looseObject({ address: z.string(), interface: z.number().optional() });

const configurationSchema = z.looseObject({
  cniVersion: z.string().default('0.1.0'),
  name: z.string().optional(),
  /** Looked into by CHECK alone: one that is spoiled must not keep DEL from freeing what the container holds. */
  prevResult: z.unknown().optional(),
  /** Neither must what the runtime asked for. */
  runtimeConfig: z.unknown().optional(),
});

const prevResultSchema = z.looseObject({
  ips: z.array(address).default([]),
  interfaces: z.array(z.looseObject({ name: z.string(), sandbox: z.string().optional() })).default([]),
});

type Configuration = z.output<typeof configurationSchema>;

/** The version to answer in, also when the request is wrong in other respects. */
export function versionOf(call: PluginCall): string {
  try {
    return readConfiguration(call.stdin).cniVersion;
  } catch {
    return '1.0.0';
  }
}

/** Checks what the runtime has sent. Throws CniError with the specification's code. */
export function readRequest(call: PluginCall): CniRequest {
  const command = call.environment.get('CNI_COMMAND');
  switch (command) {
    case 'VERSION':
      return { command };
    case 'ADD': {
      const { cniVersion, parsed } = configuration(call);
      return {
        command,
        cniVersion,
        ...attachment(call),
        netns: required(call, 'CNI_NETNS'),
        runtimeConfig: runtimeConfigOf(parsed),
      };
    }
    case 'DEL': {
      const { cniVersion } = configuration(call);
      return {
        command,
        cniVersion,
        ...attachment(call),
        netns: call.environment.get('CNI_NETNS') || undefined,
      };
    }
    case 'CHECK':
      return checkRequest(call);
    case undefined:
      throw missing('CNI_COMMAND');
    default:
      throw new CniError(
        CNI_CODE.invalidEnvironment,
        `unknown CNI_COMMAND ${JSON.stringify(command)}`,
        'known are ADD, DEL, CHECK and VERSION',
      );
  }
}

function checkRequest(call: PluginCall): CheckRequest {
  const { cniVersion, parsed } = configuration(call);
  if (!hasCheck(cniVersion)) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `cniVersion ${cniVersion} does not allow CHECK`,
      'it came with 0.4.0',
    );
  }
  if (parsed.prevResult === undefined || parsed.prevResult === null) {
    throw new CniError(CNI_CODE.invalidConfiguration, 'CHECK needs prevResult, the result of ADD');
  }
  const prevResult = valid(prevResultSchema, parsed.prevResult, ['prevResult']);
  const target = attachment(call);
  // Plugins behind this one may add interfaces of their own; only what belongs to this one is looked at.
  const own = prevResult.interfaces.findIndex(
    ({ name, sandbox }) => name === target.ifName && sandbox !== undefined && sandbox !== '',
  );
  const ips = prevResult.ips.filter((ip) => ip.interface === undefined || ip.interface === own);
  return {
    command: 'CHECK',
    cniVersion,
    ...target,
    netns: required(call, 'CNI_NETNS'),
    expectedAddresses: ips.map((ip) => ip.address),
    runtimeConfig: runtimeConfigOf(parsed),
  };
}

function runtimeConfigOf({ runtimeConfig }: Configuration): RuntimeConfig {
  return valid(runtimeConfigSchema, runtimeConfig ?? {}, ['runtimeConfig']);
}

function configuration(call: PluginCall): { cniVersion: CniVersion; parsed: Configuration } {
  const parsed = readConfiguration(call.stdin);
  if (!isSupported(parsed.cniVersion)) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `cniVersion ${JSON.stringify(parsed.cniVersion)} is not supported`,
      `write one of ${SUPPORTED_VERSIONS.join(', ')} into the network configuration`,
    );
  }
  return { cniVersion: parsed.cniVersion, parsed };
}

function readConfiguration(stdin: Buffer): Configuration {
  let raw: unknown;
  try {
    raw = JSON.parse(stdin.toString('utf8'));
  } catch (error) {
    throw new CniError(
      CNI_CODE.decodingFailure,
      `the network configuration on standard input is not JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
  return valid(configurationSchema, raw, []);
}

function valid<T extends z.ZodType>(schema: T, raw: unknown, field: readonly string[]): z.output<T> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [...field, ...(issue?.path ?? [])].map(String).join('.');
  throw new CniError(
    CNI_CODE.invalidConfiguration,
    `network configuration: ${path}: ${issue?.message ?? 'invalid'}`,
  );
}

const RESERVED_NAMES = ['.', '..', 'all', 'default'];

function attachment(call: PluginCall): Attachment {
  const containerId = required(call, 'CNI_CONTAINERID');
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(containerId)) {
    throw new CniError(
      CNI_CODE.invalidEnvironment,
      `CNI_CONTAINERID ${JSON.stringify(containerId)} is not valid`,
      'it begins with a letter or digit and holds only letters, digits, "_", "." and "-"',
    );
  }
  const ifName = required(call, 'CNI_IFNAME');
  // dev_valid_name() of the kernel: IFNAMSIZ with its NUL is 16; no slash, colon or white space. "%d" makes it choose
  // a number, and "all" and "default" are settings of every interface.
  if (Buffer.byteLength(ifName) > 15 || RESERVED_NAMES.includes(ifName) || /[/:%\s]/.test(ifName)) {
    throw new CniError(
      CNI_CODE.invalidEnvironment,
      `CNI_IFNAME ${JSON.stringify(ifName)} is not valid`,
      'an interface name has up to 15 bytes, without slash, colon, per cent and white space',
    );
  }
  return { containerId, ifName };
}

function required(call: PluginCall, name: string): string {
  const value = call.environment.get(name);
  if (value === undefined || value === '') throw missing(name);
  return value;
}

const missing = (name: string): CniError =>
  new CniError(CNI_CODE.invalidEnvironment, `the environment variable ${name} is missing`);
