import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import type { PodAddresses, PoolWish } from './pod-addresses.ts';
import { CNI_CODE, CniError } from './protocol/cni-error.ts';
import { parseResolvConf, type Dns } from './protocol/dns.ts';
import type { StaticConfig } from './protocol/ipam-config.ts';
import type { PluginConfig } from './protocol/plugin-config.ts';
import type { AddRequest } from './protocol/request.ts';
import type { ContainerAddress } from './protocol/result.ts';

/** A resolv.conf is some lines. */
const MAX_RESOLV_CONF = 65_536;

/** The pool of a configuration; undefined: the node's own, or none. Throws CniError 7. */
export function poolOf({ ipam, name }: PluginConfig): PoolWish | undefined {
  if (ipam?.type !== 'host-local' || ipam.ranges === undefined) return undefined;
  if (name === '') {
    throw new CniError(CNI_CODE.invalidConfiguration, 'network configuration: name: missing, ipam needs it');
  }
  return { network: name, dataDir: ipam.dataDir, ranges: ipam.ranges };
}

/** The addresses that a container is to have, reserved where somebody keeps them. Throws as PodAddresses, CniError 7. */
export function takeAddresses(request: AddRequest, addresses: PodAddresses): readonly ContainerAddress[] {
  const { config } = request;
  if (config.ipam?.type === 'static') return staticAddresses(request, config.ipam);
  const requested = request.runtimeConfig.ips.map(({ ip }) => ip);
  return addresses.reserve(request, requested, poolOf(config));
}

/** Top-level `dns` wins over what the resolv.conf of `ipam` says, as in the bridge plugin. Throws CniError 7. */
export function dnsOf({ dns, ipam }: PluginConfig): Dns {
  if (dns !== undefined) return dns;
  const path = ipam?.type === 'host-local' ? ipam.resolvConf : undefined;
  return path === undefined ? {} : readResolvConf(path);
}

function staticAddresses({ runtimeConfig, args }: AddRequest, ipam: StaticConfig): ContainerAddress[] {
  const asked = runtimeConfig.ips.map(({ ip, prefixLength }) => ({
    ip,
    prefixLength: prefixLength ?? (ip.family === 4 ? 32 : 128),
    gateway: args.gateway?.family === ip.family ? args.gateway : undefined,
  }));
  // What the runtime asks for takes the place of what is written, as with the plugin `static`.
  const chosen = asked.length > 0 ? asked : ipam.addresses;
  if (chosen.length > 0) return [...chosen];
  throw new CniError(
    CNI_CODE.invalidConfiguration,
    'network configuration: ipam.addresses: none, and the runtime asked for none',
    'the type static gives only addresses that are written there, or asked for with the capability ips',
  );
}

function readResolvConf(path: string): Dns {
  try {
    // A named pipe would hold up the whole process until somebody writes.
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      // What is no file may never end.
      if (!fstatSync(fd).isFile() || fstatSync(fd).size > MAX_RESOLV_CONF)
        throw new Error('not a file of its kind');
      return parseResolvConf(readFileSync(fd, 'utf8'));
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    throw new CniError(
      CNI_CODE.invalidConfiguration,
      `network configuration: ipam.resolvConf: cannot read ${path}: ${cause instanceof Error ? cause.message : String(cause)}`,
      undefined,
      cause,
    );
  }
}
