import { IPTABLES_LEGACY, IPTABLES_NFT } from './iptables.ts';
import { IPVS } from './ipvs.ts';
import type { BenchMode } from './mode.ts';
import { NFTABLES } from './nftables.ts';
import { USERSPACE } from './userspace.ts';

/** Every mode that can be measured; the order is that of `--mode all`. */
export const BENCH_MODES: readonly BenchMode[] = [NFTABLES, IPTABLES_LEGACY, IPTABLES_NFT, IPVS, USERSPACE];
