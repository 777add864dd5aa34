import type { IptablesChange, IptablesKernel } from '../../kernel/iptables/objects.ts';
import type { IptablesRule } from '../../kernel/iptables/rule.ts';
import type { MasqueradeRange } from './ruleset.ts';

/** Beside flannel's FLANNEL-POSTRTG, which a flanneld may have left or may come back to. */
const MASQUERADE_CHAIN = 'FLATNET-POSTRTG';

const RETURN = { kind: 'verdict', verdict: 'RETURN' } as const;
const JUMP: IptablesRule = {
  matches: [{ kind: 'comment', text: 'pod traffic that leaves the cluster' }],
  target: { kind: 'jump', chain: MASQUERADE_CHAIN },
};

/** The decisions of `renderMasquerade` as a chain of iptables, for kernels without nftables. */
function masqueradeRules(
  { podCidr, network }: MasqueradeRange,
  proxyBit: number,
  randomFully: boolean,
): IptablesRule[] {
  const pods = { value: podCidr.toString() };
  const cluster = { value: network.toString() };
  const multicast = podCidr.family === 4 ? '224.0.0.0/4' : 'ff00::/8';
  const masquerade = { kind: 'masquerade', randomFully } as const;
  return [
    { matches: [{ kind: 'mark', mark: 2 ** proxyBit }], target: RETURN },
    { source: pods, destination: cluster, target: RETURN },
    { source: cluster, destination: pods, target: RETURN },
    { source: { ...pods, not: true }, destination: pods, target: RETURN },
    { source: cluster, destination: { value: multicast, not: true }, target: masquerade },
    { source: { ...cluster, not: true }, destination: cluster, target: masquerade },
  ];
}

/** Has iptables masquerade as `range` wants it; undefined: not at all. Throws in the tool's words. */
export async function applyIptablesMasquerade(
  iptables: IptablesKernel,
  range: MasqueradeRange | undefined,
  proxyBit: number,
): Promise<void> {
  const nat = await iptables.read('nat');
  const jumps = nat.rules('POSTROUTING')?.includes(iptables.key(JUMP)) === true;
  const chain = { table: 'nat', chain: MASQUERADE_CHAIN } as const;
  const jump = { table: 'nat', chain: 'POSTROUTING', rule: JUMP } as const;
  const changes: IptablesChange[] = [];
  if (range !== undefined) {
    const rules = masqueradeRules(range, proxyBit, iptables.randomFully);
    changes.push({ operation: 'write-chain', ...chain, rules });
    if (!jumps) changes.push({ operation: 'append', ...jump });
  } else {
    if (jumps) changes.push({ operation: 'delete', ...jump });
    if (nat.rules(MASQUERADE_CHAIN) !== undefined) changes.push({ operation: 'delete-chain', ...chain });
  }
  await iptables.apply(changes);
}
