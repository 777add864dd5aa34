import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import type { NftHook, NftKernel, NftTable } from '../../../kernel/nft/objects.ts';

/** A part of nf_tables that the mode needs and that may be a module of its own. */
interface Feature {
  readonly what: string;
  readonly module: string;
  readonly option: string;
  readonly hook: NftHook;
  readonly rule: NftRule;
}

const FORWARD: NftHook = { type: 'filter', hook: 'forward', priority: 0 };
const OUTPUT: NftHook = { type: 'nat', hook: 'output', priority: -100 };
const POSTROUTING: NftHook = { type: 'nat', hook: 'postrouting', priority: 100 };
const MARK: NftExpression = { load: 'meta', key: 'mark', register: 0 };

function featuresOf(family: 'ip' | 'ip6'): Feature[] {
  const v6 = family === 'ip6';
  const rule = (...expressions: NftExpression[]): NftRule => expressions;
  const ct: NftExpression = { load: 'ct', key: 'state', register: 0 };
  const fib: NftExpression = { load: 'fib', of: 'source', register: 0 };
  const words = v6 ? 'IPv6' : 'IPv4';
  const number = v6 ? '6' : '4';
  const address: NftExpression = {
    load: 'payload',
    base: 'network',
    offset: v6 ? 24 : 16,
    length: v6 ? 16 : 4,
    register: 0,
  };
  const port: NftExpression = { load: 'payload', base: 'transport', offset: 2, length: 2, register: 4 };
  const dnat: NftExpression = { statement: 'dnat', family, address: 0, port: 4 };
  const reject: NftExpression = { statement: 'reject', family, by: 'icmp' };
  return [
    {
      what: 'connection state (ct)',
      module: 'nft_ct',
      option: 'CONFIG_NFT_CT',
      hook: FORWARD,
      rule: rule(ct),
    },
    {
      what: 'random numbers (numgen)',
      module: 'nft_numgen',
      option: 'CONFIG_NFT_NUMGEN',
      hook: FORWARD,
      rule: rule({ load: 'random', modulus: 2, register: 0 }),
    },
    {
      what: `kinds of ${words} addresses (fib)`,
      module: `nft_fib_ipv${number}`,
      option: `CONFIG_NFT_FIB_IPV${number}`,
      hook: FORWARD,
      rule: rule(fib),
    },
    {
      what: `refusal of ${words} packets (reject)`,
      module: `nft_reject_ipv${number}`,
      option: `CONFIG_NFT_REJECT_IPV${number}`,
      hook: FORWARD,
      rule: rule(reject),
    },
    {
      what: 'chains of type nat',
      module: 'nft_chain_nat',
      option: 'CONFIG_NFT_NAT',
      hook: OUTPUT,
      rule: rule(MARK),
    },
    {
      what: 'translation of destinations (dnat)',
      module: 'nft_nat',
      option: 'CONFIG_NFT_NAT',
      hook: OUTPUT,
      rule: rule(address, port, dnat),
    },
    {
      what: 'masquerade',
      module: 'nft_masq',
      option: 'CONFIG_NFT_MASQ',
      hook: POSTROUTING,
      rule: rule({ statement: 'masquerade' }),
    },
  ];
}

/** What the kernel lacks, in words; each is tried in a table that the same transaction takes away again. */
export function missingFeatures(nft: NftKernel, family: 'ip' | 'ip6'): { what: string; remedy: string }[] {
  const table: NftTable = { family, name: 'flatnet-probe' };
  const works = (feature?: Feature): boolean => {
    try {
      nft.commit([
        { operation: 'add-table', table },
        ...(feature === undefined
          ? []
          : [
              {
                operation: 'write-chain' as const,
                table,
                chain: 'probe',
                rules: [feature.rule],
                hook: feature.hook,
              },
            ]),
        { operation: 'delete-table', table },
      ]);
      return true;
    } catch {
      return false;
    }
  };
  const remedy = (module: string, option: string): string => `modprobe ${module}, or a kernel with ${option}`;
  if (!works()) {
    const option = family === 'ip' ? 'CONFIG_NF_TABLES_IPV4' : 'CONFIG_NF_TABLES_IPV6';
    return [{ what: `nf_tables for family ${family}`, remedy: remedy('nf_tables', option) }];
  }
  return featuresOf(family)
    .filter((feature) => !works(feature))
    .map(({ what, module, option }) => ({ what, remedy: remedy(module, option) }));
}

/** Errors of a kernel that lacks something. */
const LACKING = new Set(['ENOENT', 'EOPNOTSUPP', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'EINVAL', 'ENOPROTOOPT']);

/** An error that names what the kernel lacks, if that is why it refused. */
export function explainRefusal(nft: NftKernel, error: unknown): unknown {
  if (!(error instanceof FlatnetError)) return error;
  if (error.code === 'EPERM') {
    return new FlatnetError('nftables mode: the process may not program nf_tables', {
      code: 'EPERM',
      hint: 'run it as root, or with CAP_NET_ADMIN',
      cause: error,
    });
  }
  if (!LACKING.has(error.code)) return error;
  const missing = (['ip', 'ip6'] as const).flatMap((family) => missingFeatures(nft, family));
  if (missing.length === 0) return error;
  return new FlatnetError(`nftables mode: the kernel lacks ${missing.map(({ what }) => what).join(', ')}`, {
    code: 'KERNEL_LACKS',
    hint: [...new Set(missing.map(({ remedy }) => remedy))].join('; '),
    cause: error,
  });
}
