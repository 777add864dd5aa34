import type { Node } from 'kubernetes-types/core/v1.js';
import { expect, test } from 'vitest';
import { projectNode } from './node-facts.ts';

const address = (type: string, text: string): { type: string; address: string } => ({ type, address: text });

test.each<[string, { type: string; address: string }[], string]>([
  [
    'the first of each family',
    ['10.0.0.1', 'fd00::1', '10.0.0.2'].map((one) => address('InternalIP', one)),
    '10.0.0.1,fd00::1',
  ],
  [
    'IPv6 first where the node has it so',
    ['fd00::1', '10.0.0.1'].map((one) => address('InternalIP', one)),
    'fd00::1,10.0.0.1',
  ],
  [
    'internal before external ones',
    [address('ExternalIP', '192.0.2.1'), address('InternalIP', '10.0.0.1')],
    '10.0.0.1',
  ],
  ['external ones where there are no others', [address('ExternalIP', '192.0.2.1')], '192.0.2.1'],
  ['none of names and of what is none', [address('Hostname', 'n'), address('InternalIP', '10.0.0')], ''],
])('addresses: %s', (_, addresses, expected) => {
  expect(String(projectNode({ status: { addresses } }).ips)).toBe(expected);
});

test.each<[Node, boolean]>([
  [{}, true],
  [{ spec: { taints: [{ key: 'node.kubernetes.io/unreachable', effect: 'NoExecute' }] } }, true],
  [{ spec: { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] } }, false],
  [{ metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }, false],
])('%j may get traffic: %s', (node, eligible) => {
  expect(projectNode(node).eligible).toBe(eligible);
});

test('the zone is the label, pod ranges are those of the spec', () => {
  const facts = projectNode({
    metadata: { labels: { 'topology.kubernetes.io/zone': 'eu-1a' } },
    spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00:1::/64'] },
  });
  expect(facts.zone).toBe('eu-1a');
  expect(String(facts.podCidrs)).toBe('10.244.1.0/24,fd00:1::/64');
});
