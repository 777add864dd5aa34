import * as z from 'zod';
import { parseCniArgs, type CniArgs } from './cni-args.ts';
import { CNI_CODE, CniError } from './cni-error.ts';
import type { PluginCall } from './frame.ts';
import { checkContainerId, checkInterfaceName, isContainerId, isInterfaceName } from './identifiers.ts';
import { parsePluginConfig, valid, type PluginConfig } from './plugin-config.ts';
import type { RuntimeConfig } from './runtime-config.ts';
import { SUPPORTED_VERSIONS, isAtLeast, isSupported, type CniVersion } from './version.ts';

/** The interface of a container that a request is about. */
export interface Attachment {
  readonly containerId: string;
  readonly ifName: string;
}

export interface AddRequest extends Attachment {
  readonly command: 'ADD';
  readonly cniVersion: CniVersion;
  readonly netns: string;
  readonly config: PluginConfig;
  readonly args: CniArgs;
  /** Of the configuration and, where it is silent, of CNI_ARGS. */
  readonly runtimeConfig: RuntimeConfig;
}

export interface DelRequest extends Attachment {
  readonly command: 'DEL';
  readonly cniVersion: CniVersion;
  /** Absent when the namespace is gone already. */
  readonly netns: string | undefined;
  /** Undefined where it cannot be read: that must not keep DEL from freeing what the container holds. */
  readonly config: PluginConfig | undefined;
}

export interface CheckRequest extends Attachment {
  readonly command: 'CHECK';
  readonly cniVersion: CniVersion;
  readonly netns: string;
  readonly config: PluginConfig;
  readonly runtimeConfig: RuntimeConfig;
  /** Addresses with prefix length that ADD has reported for the container, as its result wrote them. */
  readonly expectedAddresses: readonly string[];
}

export interface GcRequest {
  readonly command: 'GC';
  readonly cniVersion: CniVersion;
  /** The network that the list is about. */
  readonly network: string;
  /** All that there should be; what is not among them goes. */
  readonly valid: readonly Attachment[];
  /** Undefined where it cannot be read; as with DEL. */
  readonly config: PluginConfig | undefined;
}

export type CniRequest =
  | AddRequest
  | DelRequest
  | CheckRequest
  | GcRequest
  | { readonly command: 'STATUS'; readonly cniVersion: CniVersion }
  | { readonly command: 'VERSION' };

const address = z.looseObject({ address: z.string(), interface: z.number().optional() });

const prevResultSchema = z.looseObject({
  ips: z.array(address).default([]),
  interfaces: z.array(z.looseObject({ name: z.string(), sandbox: z.string().optional() })).default([]),
});

const validAttachments = z.array(
  z.looseObject({
    containerID: z.string().refine(isContainerId, 'is not a container id'),
    ifname: z.string().refine(isInterfaceName, 'is not the name of an interface'),
  }),
);

// Made once: a schema costs more than what it checks.
const anyObject = z.looseObject({});
const versioned = z.looseObject({ cniVersion: z.string().default('0.1.0') });
const named = z.looseObject({ name: z.string().min(1) });

/** The newer name comes first; libcni sends both. */
const VALID_ATTACHMENTS = ['cni.dev/valid-attachments', 'cni.dev/attachments'];

type Configuration = Readonly<Record<string, unknown>>;

interface Versioned {
  readonly cniVersion: CniVersion;
  readonly raw: Configuration;
}

/** The version to answer in, also when the request is wrong in other respects. */
export function versionOf(call: PluginCall): string {
  try {
    const { cniVersion } = readConfiguration(call.stdin);
    return typeof cniVersion === 'string' && isSupported(cniVersion) ? cniVersion : '1.0.0';
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
    case 'ADD':
      return addRequest(call);
    case 'DEL':
      return delRequest(call);
    case 'CHECK':
      return checkRequest(call);
    case 'GC':
      return gcRequest(call);
    case 'STATUS':
      return { command, cniVersion: since('1.1.0', command, configuration(call)).cniVersion };
    case undefined:
    case '':
      throw missing('CNI_COMMAND');
    default:
      throw new CniError(
        CNI_CODE.invalidEnvironment,
        `unknown CNI_COMMAND ${JSON.stringify(command)}`,
        'known are ADD, DEL, CHECK, GC, STATUS and VERSION',
      );
  }
}

function addRequest(call: PluginCall): AddRequest {
  const { cniVersion, raw } = configuration(call);
  const target = attachment(call);
  const netns = required(call, 'CNI_NETNS');
  const args = parseCniArgs(call.environment.get('CNI_ARGS') ?? '');
  const config = parsePluginConfig(raw);
  const asked = config.runtimeConfig;
  const runtimeConfig = {
    ...asked,
    ips: [...asked.ips, ...(args.ip === undefined ? [] : [args.ip])],
    mac: asked.mac ?? args.mac,
  };
  return { command: 'ADD', cniVersion, ...target, netns, config, args, runtimeConfig };
}

function delRequest(call: PluginCall): DelRequest {
  const { cniVersion, raw } = configuration(call);
  return {
    command: 'DEL',
    cniVersion,
    ...attachment(call),
    netns: call.environment.get('CNI_NETNS') || undefined,
    config: configOrNone(raw),
  };
}

function configOrNone(raw: Configuration): PluginConfig | undefined {
  try {
    return parsePluginConfig(raw);
  } catch {
    return undefined;
  }
}

function checkRequest(call: PluginCall): CheckRequest {
  const { cniVersion, raw } = since('0.4.0', 'CHECK', configuration(call));
  if (raw['prevResult'] === undefined || raw['prevResult'] === null) {
    throw new CniError(CNI_CODE.invalidConfiguration, 'CHECK needs prevResult, the result of ADD');
  }
  const prevResult = valid(prevResultSchema, raw['prevResult'], ['prevResult']);
  const target = attachment(call);
  // Plugins behind this one may add interfaces of their own; only what belongs to this one is looked at.
  const own = prevResult.interfaces.findIndex(
    ({ name, sandbox }) => name === target.ifName && sandbox !== undefined && sandbox !== '',
  );
  const ips = prevResult.ips.filter((ip) => ip.interface === undefined || ip.interface === own);
  const config = parsePluginConfig(raw);
  return {
    command: 'CHECK',
    cniVersion,
    ...target,
    netns: required(call, 'CNI_NETNS'),
    config,
    runtimeConfig: config.runtimeConfig,
    expectedAddresses: ips.map((ip) => ip.address),
  };
}

function gcRequest(call: PluginCall): GcRequest {
  const { cniVersion, raw } = since('1.1.0', 'GC', configuration(call));
  const { name } = valid(named, raw);
  const key = VALID_ATTACHMENTS.find((each) => each in raw);
  // Without the list everything would be taken for invalid, and all pods lose their network.
  if (key === undefined) {
    throw new CniError(
      CNI_CODE.invalidConfiguration,
      `network configuration: ${VALID_ATTACHMENTS[0] ?? ''}: missing`,
      'GC needs the list of all attachments that are valid; it may be empty',
    );
  }
  const list = valid(validAttachments, raw[key] ?? [], [key]);
  return {
    command: 'GC',
    cniVersion,
    network: name,
    config: configOrNone(raw),
    valid: list.map(({ containerID, ifname }) => ({ containerId: containerID, ifName: ifname })),
  };
}

function since(version: CniVersion, command: string, configured: Versioned): Versioned {
  if (isAtLeast(configured.cniVersion, version)) return configured;
  throw new CniError(
    CNI_CODE.incompatibleVersion,
    `cniVersion ${configured.cniVersion} does not allow ${command}`,
    `it came with ${version}`,
  );
}

function configuration(call: PluginCall): Versioned {
  const raw = readConfiguration(call.stdin);
  const { cniVersion } = valid(versioned, raw);
  if (!isSupported(cniVersion)) {
    throw new CniError(
      CNI_CODE.incompatibleVersion,
      `cniVersion ${JSON.stringify(cniVersion)} is not supported`,
      `write one of ${SUPPORTED_VERSIONS.join(', ')} into the network configuration`,
    );
  }
  return { cniVersion, raw };
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
  return valid(anyObject, raw);
}

function attachment(call: PluginCall): Attachment {
  return {
    containerId: checkContainerId(required(call, 'CNI_CONTAINERID')),
    ifName: checkInterfaceName(required(call, 'CNI_IFNAME')),
  };
}

function required(call: PluginCall, name: string): string {
  const value = call.environment.get(name);
  if (value === undefined || value === '') throw missing(name);
  return value;
}

const missing = (name: string): CniError =>
  new CniError(CNI_CODE.invalidEnvironment, `the environment variable ${name} is missing`);
