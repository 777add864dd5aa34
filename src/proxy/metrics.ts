import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { IpFamily } from '../net/ip.ts';
import type { ProxyMode, RuleCount } from './backend.ts';

// Names, labels and words are kube-proxy's (pkg/proxy/metrics, 1.36), so that existing dashboards and alerts work.

/** kube-proxy: 1 ms doubling 15 times. */
const SYNC_BUCKETS = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
/** Below kube-proxy's, where this proxy works. */
const QUICK_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1];
const PROGRAMMING_BUCKETS = [
  ...QUICK_BUCKETS,
  ...Array.from({ length: 2 }, (_, i) => 0.25 * (i + 1)),
  ...Array.from({ length: 59 }, (_, i) => i + 1),
  ...Array.from({ length: 12 }, (_, i) => 60 + 5 * i),
  ...Array.from({ length: 7 }, (_, i) => 120 + 30 * i),
];

const FAMILY = ['ip_family'] as const;
const RULES = 'kubeproxy_sync_proxy_rules';

export const familyLabel = (family: IpFamily): 'IPv4' | 'IPv6' => `IPv${family}`;

/** Makes metrics of one registry. */
class MetricMaker {
  readonly #registers: Registry[];

  constructor(registry: Registry) {
    this.#registers = [registry];
  }

  histogram(name: string, help: string, buckets = SYNC_BUCKETS): Histogram<'ip_family'> {
    return new Histogram({ name, help, labelNames: FAMILY, buckets, registers: this.#registers });
  }

  counter<const L extends string = never>(
    name: string,
    help: string,
    labelNames: readonly L[] = [],
  ): Counter<L> {
    return new Counter({ name, help, labelNames, registers: this.#registers });
  }

  gauge<const L extends string = never>(name: string, help: string, labelNames: readonly L[] = []): Gauge<L> {
    return new Gauge({ name, help, labelNames, registers: this.#registers });
  }
}

function durations(make: MetricMaker) {
  return {
    syncDuration: make.histogram(`${RULES}_duration_seconds`, 'SyncProxyRules latency in seconds'),
    fullSyncDuration: make.histogram(
      'kubeproxy_sync_full_proxy_rules_duration_seconds',
      'SyncProxyRules latency in seconds for full resyncs',
    ),
    partialSyncDuration: make.histogram(
      'kubeproxy_sync_partial_proxy_rules_duration_seconds',
      'SyncProxyRules latency in seconds for partial resyncs',
    ),
    programmingDuration: make.histogram(
      'kubeproxy_network_programming_duration_seconds',
      'In Cluster Network Programming Latency in seconds',
      PROGRAMMING_BUCKETS,
    ),
    lastQueued: make.gauge(
      `${RULES}_last_queued_timestamp_seconds`,
      'The last time a sync of proxy rules was queued',
      FAMILY,
    ),
    lastSync: make.gauge(
      `${RULES}_last_timestamp_seconds`,
      'The last time proxy rules were successfully synced',
      FAMILY,
    ),
  };
}

function changes(make: MetricMaker) {
  return {
    endpointChanges: make.counter(
      `${RULES}_endpoint_changes_total`,
      'Cumulative proxy rules Endpoint changes',
    ),
    serviceChanges: make.counter(`${RULES}_service_changes_total`, 'Cumulative proxy rules Service changes'),
    endpointChangesPending: make.gauge(
      `${RULES}_endpoint_changes_pending`,
      'Pending proxy rules Endpoint changes',
    ),
    serviceChangesPending: make.gauge(
      `${RULES}_service_changes_pending`,
      'Pending proxy rules Service changes',
    ),
    noLocalEndpoints: make.gauge(
      `${RULES}_no_local_endpoints_total`,
      'Number of services with a Local traffic policy and no endpoints',
      ['ip_family', 'traffic_policy'],
    ),
  };
}

function flows(make: MetricMaker) {
  return {
    flowsDuration: make.histogram(
      'kubeproxy_conntrack_reconciler_sync_duration_seconds',
      'ReconcileConntrackFlowsLatency latency in seconds',
    ),
    deletedFlows: make.counter(
      'kubeproxy_conntrack_reconciler_deleted_entries_total',
      'Cumulative conntrack flows deleted by conntrack reconciler',
      FAMILY,
    ),
  };
}

function health(make: MetricMaker) {
  return {
    /** Counted by whoever serves /healthz and /livez. */
    healthz: make.counter('kubeproxy_proxy_healthz_total', 'Cumulative proxy healthz HTTP status', ['code']),
    livez: make.counter('kubeproxy_proxy_livez_total', 'Cumulative proxy livez HTTP status', ['code']),
    invalidObjects: make.gauge(
      'flatnet_proxy_invalid_objects',
      'Services and EndpointSlices of which a part cannot be programmed',
    ),
    conflicts: make.counter(
      'flatnet_proxy_conflicts_total',
      'Addresses and node ports that a Service did not get, as another one had them',
    ),
    failedParts: make.gauge(
      'flatnet_proxy_failed_parts',
      'Parts that the last sync could not program although the rest is',
    ),
    foreignChanges: make.counter(
      'flatnet_proxy_foreign_changes_total',
      'Changes of its rules by other programs that the proxy has found and repaired',
    ),
  };
}

function tableFailures(make: MetricMaker): Partial<Record<ProxyMode, Counter<'ip_family'>>> {
  return {
    iptables: make.counter(
      `${RULES}_iptables_restore_failures_total`,
      'Cumulative proxy iptables restore failures',
      FAMILY,
    ),
    nftables: make.counter(
      `${RULES}_nftables_sync_failures_total`,
      'Cumulative proxy nftables sync failures',
      FAMILY,
    ),
  };
}

/** A proxy that is made anew in the same process begins to count anew. */
export function createProxyMetrics(registry: Registry) {
  const own = /^(kubeproxy|flatnet_proxy)_/;
  for (const { name } of registry.getMetricsAsArray()) if (own.test(name)) registry.removeSingleMetric(name);
  const make = new MetricMaker(registry);
  const failures = make.counter(
    'flatnet_proxy_sync_failures_total',
    'Syncs that the kernel refused, in any mode',
  );
  const failuresOfMode = tableFailures(make);
  const tables = ['ip_family', 'table'] as const;
  const total = make.gauge(
    `${RULES}_iptables_total`,
    'Total number of iptables rules owned by kube-proxy',
    tables,
  );
  const last = make.gauge(
    `${RULES}_iptables_last`,
    'Number of iptables rules written by kube-proxy in last sync',
    tables,
  );
  return {
    ...durations(make),
    ...changes(make),
    ...flows(make),
    ...health(make),
    failed: (mode: ProxyMode, families: readonly IpFamily[]): void => {
      failures.inc();
      for (const family of families) failuresOfMode[mode]?.inc({ ip_family: familyLabel(family) });
    },
    rules: (counts: readonly RuleCount[]): void => {
      for (const { family, table, written, total: owned } of counts) {
        total.set({ ip_family: familyLabel(family), table }, owned);
        last.set({ ip_family: familyLabel(family), table }, written);
      }
    },
  };
}

export type ProxyMetrics = ReturnType<typeof createProxyMetrics>;
