import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

// Names and meanings are kube-proxy's (pkg/proxy/metrics), so that existing dashboards and alerts work.

/** kube-proxy: 1 ms doubling 15 times. */
const SYNC_BUCKETS = Array.from({ length: 15 }, (_, i) => 0.001 * 2 ** i);
/** kube-proxy's from 0.25 s up, and finer below, where this proxy works. */
const PROGRAMMING_BUCKETS = [
  0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 180, 240, 300,
];

export class ProxyMetrics {
  readonly syncDuration: Histogram;
  readonly fullSyncDuration: Histogram;
  readonly partialSyncDuration: Histogram;
  readonly programmingDuration: Histogram;
  readonly endpointChanges: Counter;
  readonly serviceChanges: Counter;
  readonly endpointChangesPending: Gauge;
  readonly serviceChangesPending: Gauge;
  readonly lastQueued: Gauge;
  readonly lastSync: Gauge;
  readonly failures: Counter;
  readonly deletedFlows: Counter;
  readonly invalidObjects: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    // A proxy that is made anew in the same process begins to count anew.
    const own = /^(kubeproxy|flatnet_proxy)_/;
    for (const { name } of registry.getMetricsAsArray())
      if (own.test(name)) registry.removeSingleMetric(name);
    const sync = 'kubeproxy_sync_proxy_rules';
    const histogram = (name: string, help: string, buckets: number[]): Histogram =>
      new Histogram({ name, help, buckets, registers });
    const counter = (name: string, help: string): Counter => new Counter({ name, help, registers });
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
    this.syncDuration = histogram(`${sync}_duration_seconds`, 'Time to bring rules up to date', SYNC_BUCKETS);
    this.fullSyncDuration = histogram(
      'kubeproxy_sync_full_proxy_rules_duration_seconds',
      'Time to bring all rules up to date, reading them back from the kernel',
      SYNC_BUCKETS,
    );
    this.partialSyncDuration = histogram(
      'kubeproxy_sync_partial_proxy_rules_duration_seconds',
      'Time to program what changed',
      SYNC_BUCKETS,
    );
    this.programmingDuration = histogram(
      'kubeproxy_network_programming_duration_seconds',
      'From the change of a Service or pod to the kernel, by the last-change-trigger-time of EndpointSlices',
      PROGRAMMING_BUCKETS,
    );
    this.endpointChanges = counter(`${sync}_endpoint_changes_total`, 'Changes of EndpointSlices');
    this.serviceChanges = counter(`${sync}_service_changes_total`, 'Changes of Services');
    this.endpointChangesPending = gauge(
      `${sync}_endpoint_changes_pending`,
      'Changes of EndpointSlices not yet in the kernel',
    );
    this.serviceChangesPending = gauge(
      `${sync}_service_changes_pending`,
      'Changes of Services not yet in the kernel',
    );
    this.lastQueued = gauge(`${sync}_last_queued_timestamp_seconds`, 'When a sync was last asked for');
    this.lastSync = gauge(`${sync}_last_timestamp_seconds`, 'When rules were last brought up to date');
    this.failures = counter(`${sync}_nftables_sync_failures_total`, 'Transactions that the kernel refused');
    this.deletedFlows = counter(
      'kubeproxy_conntrack_reconciler_deleted_entries_total',
      'Tracked connections deleted because their endpoint is gone',
    );
    this.invalidObjects = gauge(
      'flatnet_proxy_invalid_objects',
      'Services and EndpointSlices of which a part cannot be programmed',
    );
  }
}
