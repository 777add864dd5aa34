import { expect, test } from 'vitest';
import { FlatnetError } from '../../../errors/flatnet-error.ts';
import type { NftExpression } from '../../../kernel/nft/expression.ts';
import { FakeNft } from '../../../kernel/nft/fake.ts';
import type { NftChange } from '../../../kernel/nft/objects.ts';
import { Ip } from '../../../net/ip.ts';
import { NftablesBackend } from './backend.ts';

/** A kernel that knows not all expressions. */
class LackingNft extends FakeNft {
  readonly #lacks: (expression: NftExpression) => boolean;

  constructor(lacks: (expression: NftExpression) => boolean) {
    super();
    this.#lacks = lacks;
  }

  override commit(changes: readonly NftChange[]): boolean {
    const rules = changes.flatMap((change) => (change.operation === 'write-chain' ? change.rules : []));
    if (rules.flat().some(this.#lacks)) throw new FlatnetError('write a rule: ENOENT', { code: 'ENOENT' });
    return super.commit(changes);
  }
}

const prepare = async (nft: FakeNft): Promise<void> => {
  const backend = new NftablesBackend(nft, {
    families: [4],
    nodeIps: [Ip.parse('10.250.0.1')],
    nodePortAddresses: [Ip.parse('10.250.0.1')],
    localhostNodePorts: false,
    localTraffic: { kind: 'none' },
    serviceCidrs: [],
    masqueradeAll: false,
    masqueradeBit: 14,
  });
  await backend.prepare();
};

test('what the kernel lacks is named with what would provide it, and nothing stays behind', async () => {
  const nft = new LackingNft(
    (one) =>
      ('load' in one && one.load === 'random') || ('statement' in one && one.statement === 'masquerade'),
  );
  await expect(prepare(nft)).rejects.toMatchObject({
    code: 'KERNEL_LACKS',
    message: 'nftables mode: the kernel lacks random numbers (numgen), masquerade',
    hint: 'modprobe nft_numgen, or a kernel with CONFIG_NFT_NUMGEN; modprobe nft_masq, or a kernel with CONFIG_NFT_MASQ',
  });
  expect(nft.transactions.every((changes) => changes.at(-1)?.operation === 'delete-table')).toBe(true);
});

test('a refusal for another reason is told as it is', async () => {
  const nft = new FakeNft();
  nft.failNext = new FlatnetError('make table: ENOMEM', { code: 'ENOMEM' });
  await expect(prepare(nft)).rejects.toMatchObject({ code: 'ENOMEM', message: 'make table: ENOMEM' });
});

test('a process without the right to is told how to get it', async () => {
  const nft = new FakeNft();
  nft.failNext = new FlatnetError('make table: EPERM', { code: 'EPERM' });
  await expect(prepare(nft)).rejects.toMatchObject({
    code: 'EPERM',
    hint: expect.stringMatching(/CAP_NET_ADMIN/) as string,
  });
});
