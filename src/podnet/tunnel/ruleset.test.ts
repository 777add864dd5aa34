import { expect, test } from 'vitest';
import { renderTunnelRules } from './ruleset.ts';

test('the packets of a VXLAN tunnel are not tracked, whatever its port', () => {
  const text = renderTunnelRules({
    type: 'vxlan',
    vni: 1,
    port: 4789,
    directRouting: false,
    underlayMtu: undefined,
  });
  expect(text.match(/udp dport 4789 notrack/g)).toHaveLength(2);
});

test('host-gw has no tunnel, and what a tunnel left is taken away', () => {
  const text = renderTunnelRules({ type: 'host-gw', underlayMtu: undefined });
  expect(text).toContain('delete table inet flatnet-tunnel');
  expect(text).not.toContain('notrack');
});
