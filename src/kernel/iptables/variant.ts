import { FlatnetError } from '../../errors/flatnet-error.ts';
import { CommandError, run } from '../exec/run.ts';
import type { IptablesVariant } from './objects.ts';

/** kubelet makes one of them in the mangle table, for others to see which variant the node uses. */
const HINTS = ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY'] as const;
const HINT = new RegExp(`^:(?:${HINTS.join('|')}) `, 'm');
const TIMEOUT_MS = 120_000;

export interface VariantChoice {
  readonly variant: IptablesVariant;
  /** For the log. */
  readonly why: string;
}

/**
 * The variant of iptables that the node uses, found out as kube-proxy's image does (kubernetes-sigs/iptables-wrappers,
 * iptables-wrapper-installer.sh, and kubelet's pkg/kubelet/kubelet_network_linux.go): the one that has kubelet's chains
 * in its mangle table, nf_tables asked first; else the one with more rules, nf_tables if both have as many. `wanted`
 * overrides. Throws IPTABLES_MISSING when neither is installed.
 */
export async function chooseVariant(
  wanted: IptablesVariant | undefined,
  netns?: number,
): Promise<VariantChoice> {
  if (wanted !== undefined) return { variant: wanted, why: 'as configured' };
  const hint = await nftHint(netns);
  if (hint === true) return { variant: 'nft', why: "kubelet's chains are there" };
  // Tables of ip_tables are not named: asking for one makes the kernel create it.
  const legacy = await saveBoth('legacy', netns);
  if (legacy === undefined && hint === undefined) throw missing();
  if (legacy === undefined) return { variant: 'nft', why: 'the other is not installed' };
  if (HINT.test(legacy)) return { variant: 'legacy', why: "kubelet's chains are there" };
  if (hint === undefined) return { variant: 'legacy', why: 'the other is not installed' };
  const nft = (await saveBoth('nft', netns)) ?? '';
  const [ofLegacy, ofNft] = [countRules(legacy), countRules(nft)];
  if (ofLegacy > ofNft) return { variant: 'legacy', why: `it has ${ofLegacy} rules, the other ${ofNft}` };
  return { variant: 'nft', why: `it has ${ofNft} rules, the other ${ofLegacy}` };
}

/** Whether nf_tables has kubelet's chains: asked for by name, as to print a table takes as long as it is large. */
async function nftHint(netns: number | undefined): Promise<boolean | undefined> {
  const options = { timeoutMs: TIMEOUT_MS, ...(netns === undefined ? {} : { netns }) };
  let isInstalled = false;
  for (const tool of ['iptables-nft', 'ip6tables-nft']) {
    for (const chain of HINTS) {
      try {
        await run(tool, ['--wait', '30', '-t', 'mangle', '-S', chain, '1'], options);
        return true;
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        if (error.code === 'COMMAND_FAILED') isInstalled = true;
      }
    }
  }
  return isInstalled ? false : undefined;
}

/** What both families have; undefined when the programs are not installed. */
async function saveBoth(variant: IptablesVariant, netns: number | undefined): Promise<string | undefined> {
  const options = { timeoutMs: TIMEOUT_MS, ...(netns === undefined ? {} : { netns }) };
  let text: string | undefined;
  for (const tool of ['iptables', 'ip6tables']) {
    try {
      text = (text ?? '') + (await run(`${tool}-${variant}-save`, [], options)).stdout;
    } catch (error) {
      // A kernel without this packet filter or family has nothing there, and that is the answer.
      if (!(error instanceof CommandError)) throw error;
      if (error.code === 'COMMAND_FAILED') text ??= '';
    }
  }
  return text;
}

function countRules(text: string): number {
  return text.match(/^-/gm)?.length ?? 0;
}

function missing(): FlatnetError {
  return new FlatnetError('neither iptables-nft nor iptables-legacy is installed', {
    code: 'IPTABLES_MISSING',
    hint: 'install the package "iptables" (1.8 or later), or choose another proxy mode',
  });
}
