import { defaultKubeProxyConfig } from './parse.ts';
import type { KubeProxyConfig, ProxyConfig } from './proxy-config.ts';

/** A field that is set and that nothing here reads, with the reason. */
export interface FieldWithoutEffect {
  readonly field: string;
  readonly reason: string;
}

const WINDOWS = 'it is for Windows';
const LOG = 'log lines are JSON on standard error, each written at once';

/** Told when they differ from their defaults. */
const REASONS: Readonly<Record<string, string>> = {
  featureGates: 'there are no feature gates here: what is stable in kube-proxy is on, what is not is absent',
  'clientConnection.acceptContentTypes': 'the API server is spoken to in JSON',
  'clientConnection.contentType': 'the API server is spoken to in JSON',
  'clientConnection.qps': 'requests are not rationed: there is a list and a watch for each type',
  'clientConnection.burst': 'requests are not rationed: there is a list and a watch for each type',
  'logging.format': LOG,
  'logging.flushFrequency': LOG,
  'logging.vmodule': LOG,
  'logging.options': LOG,
  'conntrack.max': 'kube-proxy has dropped it; set maxPerCore and min',
  enableProfiling: "/debug/pprof is of Go's runtime; run node with --inspect or --cpu-prof",
  showHiddenMetricsForVersion: 'no metrics are hidden',
  configSyncPeriod:
    'watches are followed, and what is missed is listed again; nothing is refreshed by the clock',
  'winkernel.networkName': WINDOWS,
  'winkernel.sourceVip': WINDOWS,
  'winkernel.enableDSR': WINDOWS,
  'winkernel.rootHnsEndpointName': WINDOWS,
  'winkernel.forwardHealthCheckVip': WINDOWS,
  windowsRunAsService: WINDOWS,
  resourceContainer:
    'kube-proxy has dropped it in 1.16; put the process into its container by what starts it',
};

/** What the configuration asks for in vain. */
export function fieldsWithoutEffect(config: ProxyConfig & Partial<KubeProxyConfig>): FieldWithoutEffect[] {
  const standard = defaultKubeProxyConfig();
  return Object.entries(REASONS)
    .filter(([field]) => (field.split('.')[0] ?? '') in config)
    .filter(([field]) => printed(config, field) !== printed(standard, field))
    .map(([field, reason]) => ({ field, reason }));
}

function printed(config: ProxyConfig, field: string): string | undefined {
  let value: unknown = config;
  for (const part of field.split('.')) value = (value as Record<string, unknown>)[part];
  return JSON.stringify(value);
}
