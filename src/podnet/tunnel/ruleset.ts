export const TUNNEL_TABLE = 'flatnet-tunnel';

/**
 * Keeps the tunnel's own packets out of connection tracking: the packets inside are tracked where they are
 * forwarded, and following the outer ones too costs some five per cent of the throughput. They need no state, since
 * both directions go to the same port. As one transaction it takes the place of the table that may be there.
 */
export function renderTunnelRules(ports: readonly number[]): string {
  const remove = `add table inet ${TUNNEL_TABLE}\ndelete table inet ${TUNNEL_TABLE}\n`;
  if (ports.length === 0) return remove;
  const chain = (hook: string): string[] => [
    `  chain ${hook} {`,
    // Before connection tracking, which begins at priority -200.
    `    type filter hook ${hook} priority raw; policy accept;`,
    `    udp dport { ${ports.join(', ')} } notrack`,
    '  }',
  ];
  const lines = [
    `table inet ${TUNNEL_TABLE} {`,
    '  comment "packets of the tunnel are not tracked; made by flatnet agent"',
    ...chain('prerouting'),
    ...chain('output'),
    '}',
    '',
  ];
  return remove + lines.join('\n');
}
