import { expect, test } from 'vitest';
import { renderTunnelRules } from './ruleset.ts';

test('the packets of a tunnel are not tracked, whatever its port', () => {
  expect(renderTunnelRules([4789]).match(/udp dport \{ 4789 \} notrack/g)).toHaveLength(2);
  expect(renderTunnelRules([8472, 51_820])).toContain('udp dport { 8472, 51820 } notrack');
});

test('host-gw has no tunnel, and what a tunnel left is taken away', () => {
  const text = renderTunnelRules([]);
  expect(text).toContain('delete table inet flatnet-tunnel');
  expect(text).not.toContain('notrack');
});
