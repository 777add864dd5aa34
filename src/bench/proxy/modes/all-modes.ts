import type { BenchMode } from './mode.ts';
import { NFTABLES } from './nftables.ts';

/** Every mode that can be measured; the order is that of `--mode all`. */
export const BENCH_MODES: readonly BenchMode[] = [NFTABLES];
