import * as z from 'zod';
import { Ip } from '../../net/ip.ts';
import type { ProxyMode } from '../backend.ts';
import type { BindAddress } from './bind-address.ts';
import { formatDuration } from './duration.ts';
import type { NodePortNetworks } from './fields.ts';
import { HEALTHZ_PORT, kubeProxyFields, type LOCAL_MODES, METRICS_PORT, proxyFields } from './schema.ts';

const proxyShape = z.object(proxyFields);
const kubeProxyShape = z.strictObject(kubeProxyFields);

type LocalMode = (typeof LOCAL_MODES)[number];
type ProxyFields = z.output<typeof proxyShape>;
type KubeProxyFields = z.output<typeof kubeProxyShape>;

interface Resolved {
  readonly mode: ProxyMode;
  readonly detectLocalMode: LocalMode;
  /** The mode's default where the file names none: `primary` in nftables mode, else `all`. */
  readonly nodePortAddresses: NodePortNetworks;
}

/**
 * Checked fields of KubeProxyConfiguration that mean something wherever the proxy runs, under the names of the file;
 * durations are milliseconds, defaults are filled in.
 */
export type ProxyConfig = Readonly<Omit<ProxyFields, keyof Resolved>> & Resolved;

interface Listening {
  /** Undefined: no such server. */
  readonly healthzBindAddress: BindAddress | undefined;
  readonly metricsBindAddress: BindAddress | undefined;
}

/** The whole of a checked KubeProxyConfiguration. */
export type KubeProxyConfig = Readonly<Omit<KubeProxyFields, keyof Resolved | keyof Listening>> &
  Resolved &
  Listening;

function resolve(fields: ProxyFields, defaultMode: ProxyMode): Resolved {
  const mode = fields.mode === '' ? defaultMode : fields.mode;
  const { nodePortAddresses } = fields;
  const unset = nodePortAddresses !== 'primary' && nodePortAddresses.length === 0;
  const standard = mode === 'nftables' ? 'primary' : 'all';
  return {
    mode,
    detectLocalMode: fields.detectLocalMode === '' ? 'ClusterCIDR' : fields.detectLocalMode,
    nodePortAddresses: unset ? standard : nodePortAddresses,
  };
}

function checkTogether(
  fields: ProxyFields,
  { mode, detectLocalMode }: Resolved,
  context: z.core.$RefinementCtx,
): void {
  const refuse = (path: string[], message: string): void =>
    context.addIssue({ code: 'custom', path, message });
  const own = mode === 'userspace' ? 'iptables' : mode;
  const { syncPeriod, minSyncPeriod } = fields[own];
  if (minSyncPeriod > syncPeriod) {
    const least = formatDuration(minSyncPeriod);
    refuse(
      [own, 'syncPeriod'],
      `"${formatDuration(syncPeriod)}" must be at least ${own}.minSyncPeriod, ${least}`,
    );
  }
  const { bridgeInterface, interfaceNamePrefix } = fields.detectLocal;
  if (detectLocalMode === 'BridgeInterface' && bridgeInterface === '') {
    refuse(
      ['detectLocal', 'bridgeInterface'],
      'must name the bridge that pods stand on, as detectLocalMode is BridgeInterface',
    );
  }
  if (detectLocalMode === 'InterfaceNamePrefix' && interfaceNamePrefix === '') {
    refuse(
      ['detectLocal', 'interfaceNamePrefix'],
      "must be how the names of pods' interfaces begin, as detectLocalMode is InterfaceNamePrefix",
    );
  }
}

/** For the `proxy` section of another file: fills in what depends on other fields, and checks them together. */
export function resolveProxyFields(
  fields: ProxyFields,
  defaultMode: ProxyMode,
  context: z.core.$RefinementCtx,
): ProxyConfig {
  const resolved = resolve(fields, defaultMode);
  checkTogether(fields, resolved, context);
  return { ...fields, ...resolved };
}

/** kube-proxy's own default on Linux. */
const DEFAULT_MODE: ProxyMode = 'iptables';

/** KubeProxyConfiguration, kubeproxy.config.k8s.io/v1alpha1. */
export const kubeProxySchema = kubeProxyShape.transform((fields, context): KubeProxyConfig => {
  const ipv6 = fields.bindAddress?.family === 6;
  const proxy = resolveProxyFields(fields, DEFAULT_MODE, context);
  return {
    ...fields,
    ...proxy,
    healthzBindAddress: fields.healthzBindAddress ?? {
      host: Ip.parse(ipv6 ? '::' : '0.0.0.0'),
      port: HEALTHZ_PORT,
    },
    metricsBindAddress: fields.metricsBindAddress ?? {
      host: Ip.parse(ipv6 ? '::1' : '127.0.0.1'),
      port: METRICS_PORT,
    },
  };
});
