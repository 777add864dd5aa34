import type { Cidr } from '../../net/cidr.ts';

export const SEGMENT_SIZE_TABLE = 'flatnet-mss';

/**
 * Lowers what pods' TCP connections announce as their largest segment to what the route to the other end carries, for
 * networks that drop the ICMP errors by which the ends would find out themselves. As one transaction it takes the
 * place of the table that may be there; without networks only the table goes.
 */
export function renderSegmentSize(networks: readonly Cidr[]): string {
  const remove = `add table inet ${SEGMENT_SIZE_TABLE}\ndelete table inet ${SEGMENT_SIZE_TABLE}\n`;
  if (networks.length === 0) return remove;
  const rules = networks.flatMap((network) => {
    const ip = network.family === 4 ? 'ip' : 'ip6';
    return ['saddr', 'daddr'].map(
      (end) =>
        `    ${ip} ${end} ${network.toString()} tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu`,
    );
  });
  const lines = [
    `table inet ${SEGMENT_SIZE_TABLE} {`,
    '  comment "TCP segments of pods fit their way; made by flatnet agent"',
    '  chain forward {',
    '    type filter hook forward priority mangle; policy accept;',
    ...rules,
    '  }',
    '}',
    '',
  ];
  return remove + lines.join('\n');
}
