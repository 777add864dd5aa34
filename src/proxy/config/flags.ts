import {
  BOOL,
  DURATION,
  FLOAT,
  GATES,
  HEALTHZ,
  INT,
  LIST,
  METRICS,
  readInteger,
  STRING,
  type FlagType,
} from './flag-types.ts';
import { API_VERSION, KIND } from './schema.ts';

export interface ProxyFlag {
  /** Without its dashes. */
  readonly name: string;
  readonly type: FlagType;
  /** Fields of the file that it stands for; none where it is about the run itself. */
  readonly fields: readonly string[];
  readonly help: string;
  /** Counts beside --config too; the others are then ignored, as kube-proxy does. */
  readonly besideFile?: boolean;
  readonly deprecated?: string;
  /** Why it has none, where it stands for no field that would say so. */
  readonly withoutEffect?: string;
}

const flag = (name: string, type: FlagType, fields: readonly string[], help: string): ProxyFlag => ({
  name,
  type,
  fields,
  help,
});
const always = (name: string, type: FlagType, fields: readonly string[], help: string): ProxyFlag => ({
  ...flag(name, type, fields, help),
  besideFile: true,
});

const RUN_FLAGS: readonly ProxyFlag[] = [
  always('config', STRING, [], 'file with a KubeProxyConfiguration; most other flags are then ignored'),
  always('write-config-to', STRING, [], 'write the configuration that the flags make to this file, and end'),
  always('cleanup', BOOL, [], 'remove the rules of every mode, and end'),
  always(
    'init-only',
    BOOL,
    [],
    'do what needs full root privileges, and end; CAP_NET_ADMIN is enough from then on',
  ),
  always('master', STRING, [], 'address of the API server, in place of the one in the kubeconfig'),
  always('hostname-override', STRING, [], 'name of this Node object, in place of the host name'),
];

const CLIENT_FLAGS: readonly ProxyFlag[] = [
  flag(
    'kubeconfig',
    STRING,
    ['clientConnection.kubeconfig'],
    'how to reach the API server; without it and --master by the service account of the pod',
  ),
  flag(
    'kube-api-content-type',
    STRING,
    ['clientConnection.contentType'],
    'without effect: the API is spoken to in JSON',
  ),
  flag('kube-api-burst', INT, ['clientConnection.burst'], 'without effect: requests are not rationed'),
  flag('kube-api-qps', FLOAT, ['clientConnection.qps'], 'without effect: requests are not rationed'),
  flag('config-sync-period', DURATION, ['configSyncPeriod'], 'without effect: watches are followed'),
];

const SERVER_FLAGS: readonly ProxyFlag[] = [
  flag(
    'bind-address',
    STRING,
    ['bindAddress'],
    "this node's primary address, in place of its InternalIP (nothing is bound to it)",
  ),
  flag('healthz-bind-address', HEALTHZ, ['healthzBindAddress'], 'where /healthz and /livez are served'),
  flag('metrics-bind-address', METRICS, ['metricsBindAddress'], 'where /metrics and /proxyMode are served'),
  flag(
    'bind-address-hard-fail',
    BOOL,
    ['bindAddressHardFail'],
    'end when one of these two ports is taken, rather than trying again',
  ),
  flag('profiling', BOOL, ['enableProfiling'], "without effect: /debug/pprof is of Go's runtime"),
  flag(
    'show-hidden-metrics-for-version',
    STRING,
    ['showHiddenMetricsForVersion'],
    'without effect: no metrics are hidden',
  ),
  {
    ...flag('healthz-port', INT, [], 'port of the health server; 0 for none'),
    deprecated: 'use --healthz-bind-address',
  },
  {
    ...flag('metrics-port', INT, [], 'port of the metrics server; 0 for none'),
    deprecated: 'use --metrics-bind-address',
  },
];

const MODE_FLAGS: readonly ProxyFlag[] = [
  flag('proxy-mode', STRING, ['mode'], 'iptables (default), nftables, ipvs or userspace'),
  flag(
    'masquerade-all',
    BOOL,
    ['iptables.masqueradeAll', 'nftables.masqueradeAll'],
    'masquerade everything that calls a ClusterIP',
  ),
  flag(
    'iptables-masquerade-bit',
    INT,
    ['iptables.masqueradeBit'],
    'bit of the packet mark that asks for masquerade, 0 to 31 (every mode but nftables)',
  ),
  flag(
    'iptables-localhost-nodeports',
    BOOL,
    ['iptables.localhostNodePorts'],
    'node ports also on 127.0.0.1 (iptables mode)',
  ),
  flag(
    'iptables-sync-period',
    DURATION,
    ['iptables.syncPeriod', 'nftables.syncPeriod'],
    'how often everything is looked over (every mode but ipvs)',
  ),
  flag(
    'iptables-min-sync-period',
    DURATION,
    ['iptables.minSyncPeriod', 'nftables.minSyncPeriod'],
    'least time between two changes of the rules (every mode but ipvs)',
  ),
  flag('ipvs-sync-period', DURATION, ['ipvs.syncPeriod'], 'how often everything is looked over (ipvs mode)'),
  flag(
    'ipvs-min-sync-period',
    DURATION,
    ['ipvs.minSyncPeriod'],
    'least time between two changes (ipvs mode)',
  ),
  flag(
    'ipvs-scheduler',
    STRING,
    ['ipvs.scheduler'],
    'scheduler of the virtual servers: rr, wrr, lc, wlc, sh, mh, …',
  ),
  flag('ipvs-exclude-cidrs', LIST, ['ipvs.excludeCIDRs'], 'networks whose virtual servers are left alone'),
  flag('ipvs-strict-arp', BOOL, ['ipvs.strictARP'], 'arp_ignore 1 and arp_announce 2'),
  flag('ipvs-tcp-timeout', DURATION, ['ipvs.tcpTimeout'], 'of idle TCP connections; 0 leaves it as it is'),
  flag(
    'ipvs-tcpfin-timeout',
    DURATION,
    ['ipvs.tcpFinTimeout'],
    'of TCP connections after a FIN; 0 leaves it as it is',
  ),
  flag('ipvs-udp-timeout', DURATION, ['ipvs.udpTimeout'], 'of UDP packets; 0 leaves it as it is'),
];

const USERSPACE_FLAGS: readonly ProxyFlag[] = [
  flag(
    'proxy-port-range',
    STRING,
    ['portRange'],
    'ports that the proxy may listen on, like 30000-32767 (userspace mode)',
  ),
  flag('udp-timeout', DURATION, ['udpIdleTimeout'], 'how long a UDP client may be silent (userspace mode)'),
];

const TRAFFIC_FLAGS: readonly ProxyFlag[] = [
  flag(
    'detect-local-mode',
    STRING,
    ['detectLocalMode'],
    'how traffic of pods is told from other traffic: ClusterCIDR (default), NodeCIDR, BridgeInterface, InterfaceNamePrefix',
  ),
  flag(
    'cluster-cidr',
    STRING,
    ['clusterCIDR'],
    'pod ranges of the cluster, for ClusterCIDR: one, or an IPv4 and an IPv6 one with a comma between',
  ),
  flag(
    'pod-bridge-interface',
    STRING,
    ['detectLocal.bridgeInterface'],
    'bridge that pods stand on, for BridgeInterface',
  ),
  flag(
    'pod-interface-name-prefix',
    STRING,
    ['detectLocal.interfaceNamePrefix'],
    "how the names of pods' interfaces begin, for InterfaceNamePrefix",
  ),
  flag('nodeport-addresses', LIST, ['nodePortAddresses'], 'where node ports answer: networks, or primary'),
];

const NODE_FLAGS: readonly ProxyFlag[] = [
  flag('oom-score-adj', INT, ['oomScoreAdj'], 'oom_score_adj of this process, -1000 to 1000'),
  flag(
    'conntrack-max-per-core',
    INT,
    ['conntrack.maxPerCore'],
    'connections that are tracked, for each core; 0 leaves the limit as it is',
  ),
  flag('conntrack-min', INT, ['conntrack.min'], 'least number of connections that are tracked'),
  flag(
    'conntrack-tcp-timeout-established',
    DURATION,
    ['conntrack.tcpEstablishedTimeout'],
    'of idle TCP connections; 0 leaves it as it is',
  ),
  flag(
    'conntrack-tcp-timeout-close-wait',
    DURATION,
    ['conntrack.tcpCloseWaitTimeout'],
    'of TCP connections in CLOSE_WAIT; 0 leaves it as it is',
  ),
  flag(
    'conntrack-tcp-be-liberal',
    BOOL,
    ['conntrack.tcpBeLiberal'],
    'packets out of the window are not invalid',
  ),
  flag(
    'conntrack-udp-timeout',
    DURATION,
    ['conntrack.udpTimeout'],
    'of unanswered UDP; 0 leaves it as it is',
  ),
  flag(
    'conntrack-udp-timeout-stream',
    DURATION,
    ['conntrack.udpStreamTimeout'],
    'of answered UDP; 0 leaves it as it is',
  ),
  flag('feature-gates', GATES, ['featureGates'], 'without effect: there are no feature gates here'),
];

const LOG_FLAGS: readonly ProxyFlag[] = [
  always(
    'v',
    INT,
    ['logging.verbosity'],
    'from 4 on, debug lines are logged; from 6 on, every packet of netlink',
  ),
  always('vmodule', LIST, ['logging.vmodule'], 'without effect: verbosity is one for everything'),
  always('logging-format', STRING, ['logging.format'], 'without effect: log lines are JSON'),
  always(
    'log-flush-frequency',
    DURATION,
    ['logging.flushFrequency'],
    'without effect: each line is written at once',
  ),
  always('log-json-info-buffer-size', STRING, ['logging.options.json.infoBufferSize'], 'without effect'),
  always('log-json-split-stream', BOOL, ['logging.options.json.splitStream'], 'without effect'),
  always('log-text-info-buffer-size', STRING, ['logging.options.text.infoBufferSize'], 'without effect'),
  always('log-text-split-stream', BOOL, ['logging.options.text.splitStream'], 'without effect'),
];

/** klog's; kube-proxy takes them because a library of it does. */
const KLOG_FLAGS: readonly ProxyFlag[] = (
  [
    [
      BOOL,
      ['add-dir-header', 'alsologtostderr', 'logtostderr', 'one-output', 'skip-headers', 'skip-log-headers'],
    ],
    [STRING, ['log-backtrace-at', 'log-dir', 'log-file', 'log-file-max-size', 'stderrthreshold']],
  ] as const
).flatMap(([type, names]) =>
  names.map((name) => {
    const withoutEffect = 'log lines are JSON on standard error';
    return { ...always(name, type, [], `without effect: ${withoutEffect}`), withoutEffect };
  }),
);

/** Every flag of kube-proxy 1.36, --help and --version apart, and the two of its former userspace mode. */
export const PROXY_FLAGS: readonly ProxyFlag[] = [
  ...RUN_FLAGS,
  ...CLIENT_FLAGS,
  ...SERVER_FLAGS,
  ...MODE_FLAGS,
  ...USERSPACE_FLAGS,
  ...TRAFFIC_FLAGS,
  ...NODE_FLAGS,
  ...LOG_FLAGS,
  ...KLOG_FLAGS,
];

/** The object of a file that says what these flags say. `values` are what `ProxyFlag.type.read` made, by flag name. */
export function flagsToFile(values: ReadonlyMap<string, unknown>): Record<string, unknown> {
  const file: Record<string, unknown> = { apiVersion: API_VERSION, kind: KIND };
  for (const { name, fields } of PROXY_FLAGS) {
    if (!values.has(name)) continue;
    const value = name === 'vmodule' ? vmodule(values.get(name) as string[]) : values.get(name);
    for (const field of fields) setField(file, field, value);
  }
  return file;
}

function setField(file: Record<string, unknown>, field: string, value: unknown): void {
  const parts = field.split('.');
  let section = file;
  for (const part of parts.slice(0, -1)) section = (section[part] ??= {}) as Record<string, unknown>;
  section[parts.at(-1) ?? ''] = value;
}

const vmodule = (items: readonly string[]): unknown[] =>
  items.map((item) => {
    const [filePattern, level] = item.split('=');
    return { filePattern, verbosity: readInteger(level ?? '') };
  });

/** The flag that sets a field, with its dashes; undefined where there is none. */
export function flagOf(field: string): string | undefined {
  const found = PROXY_FLAGS.find(({ fields }) =>
    fields.some((own) => field === own || field.startsWith(`${own}[`) || field.startsWith(`${own}.`)),
  );
  return found === undefined ? undefined : `--${found.name}`;
}
