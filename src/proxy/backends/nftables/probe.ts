import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { NftExpression, NftRule } from '../../../kernel/nft/expression.ts';
import type { IpFamily } from '../../../net/ip.ts';
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

const feature = (
  what: string,
  module: string,
  option: string,
  hook: NftHook,
  ...rule: NftExpression[]
): Feature => ({ what, module, option, hook, rule });

function featuresOf(family: 'ip' | 'ip6'): Feature[] {
  const [words, number] = family === 'ip6' ? ['IPv6', '6'] : ['IPv4', '4'];
  const address: NftExpression =
    family === 'ip6'
      ? { load: 'payload', base: 'network', offset: 24, length: 16, register: 0 }
      : { load: 'payload', base: 'network', offset: 16, length: 4, register: 0 };
  const port: NftExpression = { load: 'payload', base: 'transport', offset: 2, length: 2, register: 4 };
  return [
    feature('connection state (ct)', 'nft_ct', 'CONFIG_NFT_CT', FORWARD, {
      load: 'ct',
      key: 'state',
      register: 0,
    }),
    feature('random numbers (numgen)', 'nft_numgen', 'CONFIG_NFT_NUMGEN', FORWARD, {
      load: 'random',
      modulus: 2,
      register: 0,
    }),
    feature(
      `kinds of ${words} addresses (fib)`,
      `nft_fib_ipv${number}`,
      `CONFIG_NFT_FIB_IPV${number}`,
      FORWARD,
      { load: 'fib', of: 'source', register: 0 },
    ),
    feature(
      `refusal of ${words} packets (reject)`,
      `nft_reject_ipv${number}`,
      `CONFIG_NFT_REJECT_IPV${number}`,
      FORWARD,
      { statement: 'reject', family, by: 'icmp' },
    ),
    feature('chains of type nat', 'nft_chain_nat', 'CONFIG_NFT_NAT', OUTPUT, MARK),
    feature('translation of destinations (dnat)', 'nft_nat', 'CONFIG_NFT_NAT', OUTPUT, address, port, {
      statement: 'dnat',
      family,
      address: 0,
      port: 4,
    }),
    feature('masquerade', 'nft_masq', 'CONFIG_NFT_MASQ', POSTROUTING, { statement: 'masquerade' }),
  ];
}

const remedy = (module: string, option: string): string => `modprobe ${module}, or a kernel with ${option}`;

/** What the kernel lacks, in words; each is tried in a table that the same transaction takes away again. */
export function missingFeatures(nft: NftKernel, family: 'ip' | 'ip6'): { what: string; remedy: string }[] {
  const table: NftTable = { family, name: 'flatnet-probe' };
  const works = (tried?: Feature): boolean => {
    try {
      nft.commit([
        { operation: 'add-table', table },
        ...(tried === undefined
          ? []
          : [
              {
                operation: 'write-chain' as const,
                table,
                chain: 'probe',
                rules: [tried.rule],
                hook: tried.hook,
              },
            ]),
        { operation: 'delete-table', table },
      ]);
      return true;
    } catch {
      return false;
    }
  };
  if (!works()) {
    const option = family === 'ip' ? 'CONFIG_NF_TABLES_IPV4' : 'CONFIG_NF_TABLES_IPV6';
    return [{ what: `nf_tables for family ${family}`, remedy: remedy('nf_tables', option) }];
  }
  return featuresOf(family)
    .filter((one) => !works(one))
    .map(({ what, module, option }) => ({ what, remedy: remedy(module, option) }));
}

/** Errors of a kernel that lacks something. */
const LACKING = new Set(['ENOENT', 'EOPNOTSUPP', 'EAFNOSUPPORT', 'EPROTONOSUPPORT', 'EINVAL', 'ENOPROTOOPT']);

/** An error that names what the kernel lacks, if that is why it refused. */
export function explainRefusal(nft: NftKernel, families: readonly IpFamily[], error: unknown): unknown {
  if (!(error instanceof FlatnetError)) return error;
  if (error.code === 'EPERM') {
    return new FlatnetError('nftables mode: the process may not program nf_tables', {
      code: 'EPERM',
      hint: 'run it as root, or with CAP_NET_ADMIN',
      cause: error,
    });
  }
  if (!LACKING.has(error.code)) return error;
  const missing = families.flatMap((family) => missingFeatures(nft, family === 4 ? 'ip' : 'ip6'));
  if (missing.length === 0) return error;
  const what = [...new Set(missing.map((one) => one.what))].join(', ');
  return new FlatnetError(`nftables mode: the kernel lacks ${what}`, {
    code: 'KERNEL_LACKS',
    hint: [...new Set(missing.map((one) => one.remedy))].join('; '),
    cause: error,
  });
}
