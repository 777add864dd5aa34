import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { describeError } from '../errors/flatnet-error.ts';
import { readSysctl, writeSysctl } from '../kernel/sysctl/sysctl.ts';
import type { Logger } from '../log/logger.ts';
import type { ProxyConfig } from './config/proxy-config.ts';

// The kernel's connection tracking as KubeProxyConfiguration's `conntrack` wants it: pkg/proxy/conntrack/sysctls.go of
// kube-proxy 1.36. What the names mean: nf_conntrack-sysctl in the kernel's documentation.

/** Kernel settings by file; real ones and a fake. */
export interface SettingsFiles {
  read(path: string): string;
  write(path: string, value: string): void;
}

export interface KernelSetting {
  /** `net.netfilter.nf_conntrack_max`, or the path of a module's parameter. */
  readonly key: string;
  readonly value: number;
  /** Left alone where it is higher already. */
  readonly atLeast: boolean;
}

/** kube-proxy's bound of what maxPerCore makes of a machine with many cores. */
const LARGEST_MAX = 1_048_576;
const HASH_SIZE = '/sys/module/nf_conntrack/parameters/hashsize';

/** What is to be set; 0 and false leave a setting as it is. */
export function planConntrackSettings(conntrack: ProxyConfig['conntrack'], cores: number): KernelSetting[] {
  const { maxPerCore, min, tcpBeLiberal } = conntrack;
  const max = maxPerCore === 0 ? 0 : largest(maxPerCore * cores, min);
  const named: readonly (readonly [string, number])[] = [
    ['nf_conntrack_max', max],
    ['nf_conntrack_tcp_timeout_established', seconds(conntrack.tcpEstablishedTimeout)],
    ['nf_conntrack_tcp_timeout_close_wait', seconds(conntrack.tcpCloseWaitTimeout)],
    ['nf_conntrack_tcp_be_liberal', tcpBeLiberal ? 1 : 0],
    ['nf_conntrack_udp_timeout', seconds(conntrack.udpTimeout)],
    ['nf_conntrack_udp_timeout_stream', seconds(conntrack.udpStreamTimeout)],
  ];
  const settings = named
    .filter(([, value]) => value > 0)
    .map(([name, value]) => ({ key: `net.netfilter.${name}`, value, atLeast: false }));
  // Longer chains than four entries make every packet slower.
  const hash = { key: HASH_SIZE, value: Math.floor(max / 4), atLeast: true };
  return max === 0 ? settings : [...settings, hash];
}

/**
 * Sets what differs. A setting that cannot be (in a container without the right, in a network namespace that does not
 * own it, without connection tracking) is told and left: Services are served all the same.
 */
export function applyConntrackSettings(
  conntrack: ProxyConfig['conntrack'],
  logger: Logger,
  { files = KERNEL, cores = cpus().length }: { files?: SettingsFiles; cores?: number } = {},
): void {
  for (const { key, value, atLeast } of planConntrackSettings(conntrack, cores)) {
    try {
      const present = Number(files.read(key));
      if (present === value || (atLeast && present > value)) continue;
      files.write(key, String(value));
      logger.info({ setting: key, from: present, to: value }, `${key} set to ${value}`);
    } catch (error) {
      const text = describeError(error);
      logger.info({ setting: key, wanted: value, error: text }, `${key} stays as it is: ${text}`);
    }
  }
}

function largest(scaled: number, min: number): number {
  return scaled > LARGEST_MAX ? LARGEST_MAX : Math.max(scaled, min);
}

/** Shorter than a second is not 0, which would mean: leave it. */
const seconds = (ms: number): number => (ms > 0 ? Math.max(1, Math.floor(ms / 1000)) : 0);

const KERNEL: SettingsFiles = {
  read: (key) => (key.startsWith('/') ? readFileSync(key, 'utf8').trim() : readSysctl(key)),
  write: (key, value) => {
    if (key.startsWith('/')) writeFileSync(key, value);
    else writeSysctl(key, value);
  },
};
