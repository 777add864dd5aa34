import { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { createProxyMetrics } from './metrics.ts';

/** What kube-proxy 1.36 exports of its own, with the labels that its values have. */
const OF_KUBE_PROXY: Readonly<Record<string, readonly string[]>> = {
  kubeproxy_conntrack_reconciler_deleted_entries_total: ['ip_family'],
  kubeproxy_conntrack_reconciler_sync_duration_seconds: ['ip_family'],
  kubeproxy_iptables_ct_state_invalid_dropped_packets_total: [],
  kubeproxy_iptables_localhost_nodeports_accepted_packets_total: [],
  kubeproxy_network_programming_duration_seconds: ['ip_family'],
  kubeproxy_proxy_healthz_total: ['code'],
  kubeproxy_proxy_livez_total: ['code'],
  kubeproxy_sync_full_proxy_rules_duration_seconds: ['ip_family'],
  kubeproxy_sync_partial_proxy_rules_duration_seconds: ['ip_family'],
  kubeproxy_sync_proxy_rules_duration_seconds: ['ip_family'],
  kubeproxy_sync_proxy_rules_endpoint_changes_pending: [],
  kubeproxy_sync_proxy_rules_endpoint_changes_total: [],
  kubeproxy_sync_proxy_rules_iptables_last: ['ip_family', 'table'],
  kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total: ['ip_family'],
  kubeproxy_sync_proxy_rules_iptables_restore_failures_total: ['ip_family'],
  kubeproxy_sync_proxy_rules_iptables_total: ['ip_family', 'table'],
  kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds: ['ip_family'],
  kubeproxy_sync_proxy_rules_last_timestamp_seconds: ['ip_family'],
  kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total: ['ip_family'],
  kubeproxy_sync_proxy_rules_nftables_sync_failures_total: ['ip_family'],
  kubeproxy_sync_proxy_rules_no_local_endpoints_total: ['ip_family', 'traffic_policy'],
  kubeproxy_sync_proxy_rules_service_changes_pending: [],
  kubeproxy_sync_proxy_rules_service_changes_total: [],
};

test.each(Object.entries(OF_KUBE_PROXY))("%s is there as kube-proxy's, with its labels", (name, labels) => {
  const registry = new Registry();
  createProxyMetrics(registry);
  const metric = registry.getSingleMetric(name) as { labelNames?: string[] } | undefined;
  expect([...(metric?.labelNames ?? ['no such metric'])].sort()).toEqual(labels);
});

test('packets are those that the kernel has counted when it is asked', async () => {
  const registry = new Registry();
  let invalidDropped = 3;
  createProxyMetrics(registry, () => ({ invalidDropped }));
  const name = 'kubeproxy_iptables_ct_state_invalid_dropped_packets_total';
  expect(await registry.getSingleMetricAsString(name)).toContain(`${name} 3`);
  invalidDropped = 5;
  expect(await registry.getSingleMetricAsString(name)).toContain(`${name} 5`);
});

test('rules are counted by table, failures by mode; made anew they begin anew', async () => {
  const registry = new Registry();
  const metrics = createProxyMetrics(registry);
  metrics.rules([{ family: 6, table: 'nat', written: 7, total: 120 }]);
  metrics.failed('nftables', [4], false);
  metrics.failed('userspace', [4], true);
  metrics.failed('iptables', [6], false);
  const text = await registry.metrics();
  expect(text).toContain('kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv6",table="nat"} 120');
  expect(text).toContain('kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv6",table="nat"} 7');
  expect(text).toContain('kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family="IPv4"} 1');
  expect(text).toContain('flatnet_proxy_sync_failures_total 3');
  const partial = 'kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total';
  expect(text).toContain(`${partial}{ip_family="IPv6"} 1`);
  createProxyMetrics(registry);
  expect(await registry.metrics()).toContain('flatnet_proxy_sync_failures_total 0');
});
