import { expect, test } from 'vitest';
import { run } from '../exec/run.ts';
import { Netns } from '../netns/netns.ts';
import { nftablesServes } from './support.ts';

test('a kernel with nf_tables says so, and nothing is left behind', async () => {
  const netns = Netns.createAnonymous();
  try {
    expect([nftablesServes(4, netns.fd), nftablesServes(6, netns.fd)]).toEqual([true, true]);
    expect((await run('nft', ['list', 'ruleset'], { netns: netns.fd })).stdout).toBe('');
  } finally {
    netns.close();
  }
});
