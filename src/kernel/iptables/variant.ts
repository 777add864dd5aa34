import { FlatnetError } from '../../errors/flatnet-error.ts';
import { CommandError, run } from '../exec/run.ts';
import type { IptablesVariant } from './objects.ts';

/** kubelet makes one of them in the mangle table, for others to see which variant the node uses. */
const HINT = /^:(?:KUBE-IPTABLES-HINT|KUBE-KUBELET-CANARY) /m;
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
  // Tables of ip_tables are not named: asking for one makes the kernel create it.
  const mangle = await saveBoth('nft', ['-t', 'mangle'], netns);
  if (mangle !== undefined && HINT.test(mangle)) return { variant: 'nft', why: "kubelet's chains are there" };
  const legacy = await saveBoth('legacy', [], netns);
  if (legacy === undefined && mangle === undefined) throw missing();
  if (legacy === undefined) return { variant: 'nft', why: 'the other is not installed' };
  if (HINT.test(legacy)) return { variant: 'legacy', why: "kubelet's chains are there" };
  if (mangle === undefined) return { variant: 'legacy', why: 'the other is not installed' };
  const nft = (await saveBoth('nft', [], netns)) ?? '';
  const [ofLegacy, ofNft] = [countRules(legacy), countRules(nft)];
  if (ofLegacy > ofNft) return { variant: 'legacy', why: `it has ${ofLegacy} rules, the other ${ofNft}` };
  return { variant: 'nft', why: `it has ${ofNft} rules, the other ${ofLegacy}` };
}

/** What both families have; undefined when the programs are not installed. */
async function saveBoth(
  variant: IptablesVariant,
  args: readonly string[],
  netns: number | undefined,
): Promise<string | undefined> {
  const options = { timeoutMs: TIMEOUT_MS, ...(netns === undefined ? {} : { netns }) };
  let text: string | undefined;
  for (const tool of ['iptables', 'ip6tables']) {
    try {
      text = (text ?? '') + (await run(`${tool}-${variant}-save`, args, options)).stdout;
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
