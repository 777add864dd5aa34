import { FlatnetError } from '../errors/flatnet-error.ts';
import { NftSocket } from '../kernel/nft/nft-socket.ts';
import { tableName, type NftFamily } from '../kernel/nft/objects.ts';

/** kube-proxy 1.36, pkg/proxy/nftables/proxier.go: what its nftables mode programs is in these tables alone. */
const NAME = 'kube-proxy';
const FAMILIES: readonly NftFamily[] = ['ip', 'ip6'];

/**
 * Removes what kube-proxy's nftables mode left: its chains come first, and would lead to endpoints of long ago.
 * `netns`: descriptor of the network namespace; the process's own when absent. Returns what was there, `ip kube-proxy`.
 */
export function removeKubeProxyTables(netns?: number): string[] {
  const nft = NftSocket.open(netns === undefined ? {} : { netns });
  try {
    return FAMILIES.flatMap((family) => {
      const table = { family, name: NAME };
      if (!isThere(nft, family)) return [];
      nft.commit([{ operation: 'delete-table', table }]);
      return [tableName(table)];
    });
  } finally {
    nft.close();
  }
}

function isThere(nft: NftSocket, family: NftFamily): boolean {
  try {
    return nft.hasTable({ family, name: NAME });
  } catch (error) {
    // A kernel without nf_tables, or without this family of it, has no table either.
    if (error instanceof FlatnetError && error.code !== 'EPERM') return false;
    throw error;
  }
}
