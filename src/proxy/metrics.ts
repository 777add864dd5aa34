import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { IpFamily } from '../net/ip.ts';
import type { ProxyMode, RuleCount } from './backend.ts';

// Names, labels and words are kube-proxy's (pkg/proxy/metrics, 1.36), so that existing dashboards and alerts work.

/** kube-proxy: 1 ms doubling 15 times. */
const SYNC_BUCKETS = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
/** kube-proxy's, and finer ones below, where this proxy works. */
const PROGRAMMING_BUCKETS = [
  ...[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5],
  ...Array.from({ length: 59 }, (_, i) => i + 1),
  ...Array.from({ length: 12 }, (_, i) => 60 + 5 * i),
  ...Array.from({ length: 7 }, (_, i) => 120 + 30 * i),
];
/** kube-proxy: 1 ms doubling 15 times, for the reconciler too. */
const FLOW_BUCKETS = SYNC_BUCKETS;

type FamilyLabel = 'IPv4' | 'IPv6';
export const familyLabel = (family: IpFamily): FamilyLabel => `IPv${family}`;

export class ProxyMetrics {
  readonly syncDuration: Histogram<'ip_family'>;
  readonly fullSyncDuration: Histogram<'ip_family'>;
  readonly partialSyncDuration: Histogram<'ip_family'>;
  readonly programmingDuration: Histogram<'ip_family'>;
  readonly endpointChanges: Counter;
  readonly serviceChanges: Counter;
  readonly endpointChangesPending: Gauge;
  readonly serviceChangesPending: Gauge;
  readonly lastQueued: Gauge<'ip_family'>;
  readonly lastSync: Gauge<'ip_family'>;
  readonly noLocalEndpoints: Gauge<'ip_family' | 'traffic_policy'>;
  readonly flowsDuration: Histogram<'ip_family'>;
  readonly deletedFlows: Counter<'ip_family'>;
  /** Counted by whoever serves /healthz and /livez. */
  readonly healthz: Counter<'code'>;
  readonly livez: Counter<'code'>;
  readonly invalidObjects: Gauge;
  readonly conflicts: Counter;
  readonly failedParts: Gauge;
  readonly foreignChanges: Counter;
  readonly #rulesTotal: Gauge<'ip_family' | 'table'>;
  readonly #rulesLast: Gauge<'ip_family' | 'table'>;
  readonly #failures: Partial<Record<ProxyMode, Counter<'ip_family'>>>;
  readonly #allFailures: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    // A proxy that is made anew in the same process begins to count anew.
    const own = /^(kubeproxy|flatnet_proxy)_/;
    for (const { name } of registry.getMetricsAsArray())
      if (own.test(name)) registry.removeSingleMetric(name);
    const family = ['ip_family'] as const;
    const histogram = (name: string, help: string, buckets: number[]): Histogram<'ip_family'> =>
      new Histogram({ name: `kubeproxy_${name}`, help, labelNames: family, buckets, registers });
    const counter = <const L extends string>(
      name: string,
      help: string,
      labelNames: readonly L[],
    ): Counter<L> => new Counter({ name, help, labelNames, registers });
    const gauge = <const L extends string>(name: string, help: string, labelNames: readonly L[]): Gauge<L> =>
      new Gauge({ name, help, labelNames, registers });
    const rules = 'kubeproxy_sync_proxy_rules';
    this.syncDuration = histogram(
      'sync_proxy_rules_duration_seconds',
      'SyncProxyRules latency in seconds',
      SYNC_BUCKETS,
    );
    this.fullSyncDuration = histogram(
      'sync_full_proxy_rules_duration_seconds',
      'SyncProxyRules latency in seconds for full resyncs',
      SYNC_BUCKETS,
    );
    this.partialSyncDuration = histogram(
      'sync_partial_proxy_rules_duration_seconds',
      'SyncProxyRules latency in seconds for partial resyncs',
      SYNC_BUCKETS,
    );
    this.programmingDuration = histogram(
      'network_programming_duration_seconds',
      'In Cluster Network Programming Latency in seconds',
      PROGRAMMING_BUCKETS,
    );
    this.flowsDuration = histogram(
      'conntrack_reconciler_sync_duration_seconds',
      'ReconcileConntrackFlowsLatency latency in seconds',
      FLOW_BUCKETS,
    );
    this.deletedFlows = counter(
      'kubeproxy_conntrack_reconciler_deleted_entries_total',
      'Cumulative conntrack flows deleted by conntrack reconciler',
      family,
    );
    this.endpointChanges = counter(
      `${rules}_endpoint_changes_total`,
      'Cumulative proxy rules Endpoint changes',
      [],
    );
    this.serviceChanges = counter(
      `${rules}_service_changes_total`,
      'Cumulative proxy rules Service changes',
      [],
    );
    this.endpointChangesPending = gauge(
      `${rules}_endpoint_changes_pending`,
      'Pending proxy rules Endpoint changes',
      [],
    );
    this.serviceChangesPending = gauge(
      `${rules}_service_changes_pending`,
      'Pending proxy rules Service changes',
      [],
    );
    this.lastQueued = gauge(
      `${rules}_last_queued_timestamp_seconds`,
      'The last time a sync of proxy rules was queued',
      family,
    );
    this.lastSync = gauge(
      `${rules}_last_timestamp_seconds`,
      'The last time proxy rules were successfully synced',
      family,
    );
    this.noLocalEndpoints = gauge(
      `${rules}_no_local_endpoints_total`,
      'Number of services with a Local traffic policy and no endpoints',
      ['ip_family', 'traffic_policy'],
    );
    this.#rulesTotal = gauge(
      `${rules}_iptables_total`,
      'Total number of iptables rules owned by kube-proxy',
      ['ip_family', 'table'],
    );
    this.#rulesLast = gauge(
      `${rules}_iptables_last`,
      'Number of iptables rules written by kube-proxy in last sync',
      ['ip_family', 'table'],
    );
    this.#failures = {
      iptables: counter(
        `${rules}_iptables_restore_failures_total`,
        'Cumulative proxy iptables restore failures',
        family,
      ),
      nftables: counter(
        `${rules}_nftables_sync_failures_total`,
        'Cumulative proxy nftables sync failures',
        family,
      ),
    };
    this.healthz = counter('kubeproxy_proxy_healthz_total', 'Cumulative proxy healthz HTTP status', ['code']);
    this.livez = counter('kubeproxy_proxy_livez_total', 'Cumulative proxy livez HTTP status', ['code']);
    this.#allFailures = counter(
      'flatnet_proxy_sync_failures_total',
      'Syncs that the kernel refused, in any mode',
      [],
    );
    this.invalidObjects = gauge(
      'flatnet_proxy_invalid_objects',
      'Services and EndpointSlices of which a part cannot be programmed',
      [],
    );
    this.conflicts = counter(
      'flatnet_proxy_conflicts_total',
      'Addresses and node ports that a Service did not get, as another one had them',
      [],
    );
    this.failedParts = gauge(
      'flatnet_proxy_failed_parts',
      'Parts that the last sync could not program although the rest is',
      [],
    );
    this.foreignChanges = counter(
      'flatnet_proxy_foreign_changes_total',
      'Changes of its rules by other programs that the proxy has found and repaired',
      [],
    );
  }

  failed(mode: ProxyMode, families: readonly IpFamily[]): void {
    this.#allFailures.inc();
    for (const family of families) this.#failures[mode]?.inc({ ip_family: familyLabel(family) });
  }

  rules(counts: readonly RuleCount[]): void {
    for (const { family, table, written, total } of counts) {
      this.#rulesTotal.set({ ip_family: familyLabel(family), table }, total);
      this.#rulesLast.set({ ip_family: familyLabel(family), table }, written);
    }
  }
}
