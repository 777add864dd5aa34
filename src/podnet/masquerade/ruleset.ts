import type { Cidr } from '../../net/cidr.ts';

export interface MasqueradeRange {
  /** This node's pods. */
  readonly podCidr: Cidr;
  /** All pods of the cluster. */
  readonly network: Cidr;
}

export const MASQUERADE_TABLE = 'flatnet-masquerade';

/**
 * The ruleset for pods that talk to the world outside of the cluster; the same decisions as flannel's chain
 * FLANNEL-POSTRTG. As one transaction it takes the place of the table that may be there. All parts are typed
 * addresses: nothing that a user writes reaches the text. `proxyBit` is the bit of the packet mark that the service
 * proxy (kube-proxy's too) has set on what it masquerades itself.
 */
export function renderMasquerade(ranges: readonly MasqueradeRange[], proxyBit: number): string {
  const mark = `0x${(2 ** proxyBit).toString(16)}`;
  return [
    // Adding first makes the deletion valid also where there is no table yet.
    `add table inet ${MASQUERADE_TABLE}`,
    `delete table inet ${MASQUERADE_TABLE}`,
    `table inet ${MASQUERADE_TABLE} {`,
    '  comment "pod traffic that leaves the cluster; made by flatnet agent"',
    '  chain postrouting {',
    '    type nat hook postrouting priority srcnat; policy accept;',
    `    meta mark & ${mark} == ${mark} return comment "the service proxy does these"`,
    ...ranges.flatMap((range) => rules(range).map((rule) => `    ${rule}`)),
    '  }',
    '}',
    '',
  ].join('\n');
}

export function renderNoMasquerade(): string {
  return `add table inet ${MASQUERADE_TABLE}\ndelete table inet ${MASQUERADE_TABLE}\n`;
}

function rules({ podCidr, network }: MasqueradeRange): string[] {
  const ip = podCidr.family === 4 ? 'ip' : 'ip6';
  const pods = podCidr.toString();
  const cluster = network.toString();
  const multicast = podCidr.family === 4 ? '224.0.0.0/4' : 'ff00::/8';
  return [
    `${ip} saddr ${pods} ${ip} daddr ${cluster} return comment "pods see each other as they are"`,
    `${ip} saddr ${cluster} ${ip} daddr ${pods} return`,
    `${ip} saddr != ${pods} ${ip} daddr ${pods} return comment "from outside to pods of this node"`,
    `${ip} saddr ${cluster} ${ip} daddr != ${multicast} masquerade fully-random`,
    `${ip} saddr != ${cluster} ${ip} daddr ${cluster} masquerade fully-random`,
  ];
}
