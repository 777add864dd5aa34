import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { IpFamily } from '../net/ip.ts';
import type { PacketCounts, ProxyMode, RuleCount } from './backend.ts';

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

type Failures = (mode: ProxyMode, families: readonly IpFamily[], full: boolean) => void;

/** kube-proxy's ipvs mode counts what iptables refuses as well. */
function failures(make: MetricMaker): Failures {
  const all = make.counter('flatnet_proxy_sync_failures_total', 'Syncs that the kernel refused, in any mode');
  const counter = (name: string, help: string): Counter<'ip_family'> =>
    make.counter(`${RULES}_${name}_failures_total`, help, FAMILY);
  const restore = counter('iptables_restore', 'Cumulative proxy iptables restore failures');
  const partial = counter('iptables_partial_restore', 'Cumulative proxy iptables partial restore failures');
  const nftables = counter('nftables_sync', 'Cumulative proxy nftables sync failures');
  // One transaction writes and cleans up here: it fails as a whole.
  counter('nftables_cleanup', 'Cumulative proxy nftables cleanup failures');
  const ofIptables = (full: boolean): Counter<'ip_family'>[] => (full ? [restore] : [restore, partial]);
  return (mode, families, full) => {
    all.inc();
    const own = mode === 'nftables' ? [nftables] : mode === 'userspace' ? [] : ofIptables(full);
    for (const family of families) for (const one of own) one.inc({ ip_family: familyLabel(family) });
  };
}

/** Counted by the kernel: read at each scrape, shown where there are such counters. */
function packets(registry: Registry, read: () => PacketCounts): void {
  const counted = (name: string, help: string, value: (counts: PacketCounts) => number | undefined): void => {
    const made = new Counter({
      name,
      help,
      registers: [registry],
      collect: () => {
        made.reset();
        made.inc(value(read()) ?? 0);
      },
    });
  };
  counted(
    'kubeproxy_iptables_ct_state_invalid_dropped_packets_total',
    'packets dropped by iptables to work around conntrack problems',
    ({ invalidDropped }) => invalidDropped,
  );
  counted(
    'kubeproxy_iptables_localhost_nodeports_accepted_packets_total',
    'Number of packets accepted on nodeports of loopback interface',
    ({ localhostNodePorts }) => localhostNodePorts,
  );
}

/**
 * A proxy that is made anew in the same process begins to count anew. `packetCounts`: of the backend in use.
 */
export function createProxyMetrics(registry: Registry, packetCounts: () => PacketCounts = () => ({})) {
  const own = /^(kubeproxy|flatnet_proxy)_/;
  for (const { name } of registry.getMetricsAsArray()) if (own.test(name)) registry.removeSingleMetric(name);
  packets(registry, packetCounts);
  const make = new MetricMaker(registry);
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
    /** `full`: of a full sync. */
    failed: failures(make),
    rules: (counts: readonly RuleCount[]): void => {
      for (const { family, table, written, total: owned } of counts) {
        total.set({ ip_family: familyLabel(family), table }, owned);
        last.set({ ip_family: familyLabel(family), table }, written);
      }
    },
  };
}

export type ProxyMetrics = ReturnType<typeof createProxyMetrics>;
