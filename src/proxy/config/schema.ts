import * as z from 'zod';
import { SCHEDULERS } from '../../kernel/ipvs/objects.ts';
import { PROXY_MODES } from '../backend.ts';
import {
  cidrs,
  clusterCidr,
  duration,
  durationOr,
  flag,
  integer,
  interfaceName,
  ip,
  listenAddress,
  nodePortAddresses,
  oneOf,
  portRange,
  section,
  text,
} from './fields.ts';

export const API_VERSION = 'kubeproxy.config.k8s.io/v1alpha1';
export const KIND = 'KubeProxyConfiguration';
export const HEALTHZ_PORT = 10_256;
export const METRICS_PORT = 10_249;

const INT32 = 2 ** 31 - 1;
const SECOND = 1000;
const HOUR = 3600 * SECOND;

export const LOCAL_MODES = ['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'] as const;

const mode = text.transform((value, context) => {
  if (value === '' || (PROXY_MODES as readonly string[]).includes(value))
    return value as (typeof PROXY_MODES)[number] | '';
  const remedy = value === 'kernelspace' ? '; kernelspace is for Windows' : '';
  context.addIssue({
    code: 'custom',
    message: `"${value}" is not one of ${PROXY_MODES.join(', ')}${remedy}`,
  });
  return z.NEVER;
});

const masquerade = { masqueradeAll: flag(), masqueradeBit: integer(14, 0, 31) };

/** Fields that mean something wherever the proxy runs: alone, or in a node's agent. */
export const proxyFields = {
  featureGates: z
    .record(z.string(), z.boolean('must be true or false'), 'must be names with true or false')
    .nullish()
    .transform((gates) => gates ?? {}),
  bindAddress: ip,
  mode,
  iptables: section({
    ...masquerade,
    localhostNodePorts: flag(true),
    syncPeriod: durationOr(30 * SECOND),
    minSyncPeriod: durationOr(SECOND),
  }),
  ipvs: section({
    syncPeriod: durationOr(30 * SECOND),
    minSyncPeriod: duration(),
    scheduler: oneOf(SCHEDULERS).transform((name) => name || 'rr'),
    excludeCIDRs: cidrs,
    strictARP: flag(),
    tcpTimeout: duration(),
    tcpFinTimeout: duration(),
    udpTimeout: duration(),
  }),
  /** kube-proxy would take 1 second for minSyncPeriod: there a change writes much, here it is a few elements. */
  nftables: section({ ...masquerade, syncPeriod: durationOr(30 * SECOND), minSyncPeriod: duration() }),
  detectLocalMode: oneOf(LOCAL_MODES),
  detectLocal: section({ bridgeInterface: interfaceName, interfaceNamePrefix: interfaceName }),
  clusterCIDR: clusterCidr,
  nodePortAddresses,
  oomScoreAdj: integer(-999, -1000, 1000),
  conntrack: section({
    /** Of kube-proxy up to 1.13; maxPerCore and min took its place. */
    max: integer(0, 0, INT32),
    maxPerCore: integer(32 * 1024, 0, INT32),
    min: integer(128 * 1024, 0, INT32),
    tcpEstablishedTimeout: duration(24 * HOUR),
    tcpCloseWaitTimeout: duration(HOUR),
    tcpBeLiberal: flag(),
    udpTimeout: duration(),
    udpStreamTimeout: duration(),
  }),
  configSyncPeriod: durationOr(900 * SECOND),
  /** Of the userspace mode: ports that the proxy may listen on, and (in kube-proxy up to 1.25) how long a client may be silent. */
  portRange,
  udpIdleTimeout: durationOr(250),
};

const outputRouting = section({
  splitStream: flag(),
  infoBufferSize: z
    .union([z.string(), z.int()], 'must be a quantity, like "512Ki"')
    .nullish()
    .transform((size) => String(size ?? 0)),
});

/** A number is nanoseconds. */
const flushFrequency = z
  .union(
    [
      z
        .int()
        .min(0)
        .transform((ns) => ns / 1e6),
      duration(),
    ],
    'must be a duration, like "5s"',
  )
  .nullish()
  .transform((ms) => ms || 5 * SECOND);

const loggingFields = {
  format: oneOf(['text', 'json']).transform((format) => format || 'text'),
  flushFrequency,
  verbosity: integer(0, 0, INT32),
  vmodule: z
    .array(z.strictObject({ filePattern: text, verbosity: integer(0, 0, INT32) }))
    .nullish()
    .transform((list) => list ?? []),
  options: section({ text: outputRouting, json: outputRouting }),
};

/** Every field of KubeProxyConfiguration in kube-proxy 1.36, and those of its predecessors that files still carry. */
export const kubeProxyFields = {
  ...proxyFields,
  apiVersion: z.literal(API_VERSION, `must be ${API_VERSION}`),
  kind: z.literal(KIND, `must be ${KIND}`),
  clientConnection: section({
    kubeconfig: text,
    acceptContentTypes: text,
    contentType: text.transform((value) => value || 'application/vnd.kubernetes.protobuf'),
    qps: z
      .number('must be a number')
      .nullish()
      .transform((qps) => qps || 5),
    burst: integer(0, 0, INT32).transform((burst) => burst || 10),
  }),
  logging: section(loggingFields),
  hostnameOverride: text,
  healthzBindAddress: listenAddress(HEALTHZ_PORT),
  metricsBindAddress: listenAddress(METRICS_PORT),
  bindAddressHardFail: flag(),
  enableProfiling: flag(),
  showHiddenMetricsForVersion: text,
  winkernel: section({
    networkName: text,
    sourceVip: text,
    enableDSR: flag(),
    rootHnsEndpointName: text,
    forwardHealthCheckVip: flag(),
  }),
  windowsRunAsService: flag(),
  /** Of kube-proxy up to 1.15. */
  resourceContainer: text,
};
