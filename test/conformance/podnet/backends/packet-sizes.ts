import { setTimeout as after } from 'node:timers/promises';
import type { IpFamily } from '../../../../src/net/ip.ts';
import { DatagramReceiver, DatagramSender } from './datagrams.ts';
import type { Party } from './scene.ts';
import { SLOWNESS } from './subject.ts';

/** Sizes that are tried are so many bytes around the MTU. */
const AROUND = 60;
/** So many are sent before the receiver, in the same process, has its turn. */
const BURST = 8;

export interface Sweep {
  readonly from: Party;
  readonly to: Party;
  readonly family: IpFamily;
  readonly mtu: number;
  /** `whole`: with DF, or of IPv6 what its sender must not divide. */
  readonly packets: 'whole' | 'divide';
}

/** What became of the packets of every size: sizes, as ranges, by outcome. */
export interface SweepResult {
  readonly arrived: string;
  /** The sender was told (EMSGSIZE), at once or by an ICMP message on the way. */
  readonly refused: string;
  readonly lost: string;
}

/**
 * Sends packets of every size around the MTU until each has arrived or its sender knows why not. A size whose first
 * packet made the path's MTU known is tried again, as every protocol above would.
 */
export async function sweep({ from, to, family, mtu, packets }: Sweep): Promise<SweepResult> {
  const receiver = new DatagramReceiver(to, family);
  const sender = new DatagramSender(from, to.ip(family), receiver.port, packets);
  const sizes = Array.from({ length: 2 * AROUND + 1 }, (_, index) => mtu - AROUND + index);
  const refused = new Set<number>();
  let open = sizes;
  try {
    for (let round = 1; round <= 3 && open.length > 0; round += 1) {
      for (const [index, size] of open.entries()) {
        const code = sender.send(size, size);
        if (code === 'EMSGSIZE') refused.add(size);
        else if (code !== '') throw new Error(`packet of ${size} bytes: ${code}`);
        if (index % BURST === BURST - 1) await after(0);
      }
      const unknown = (): number[] => sizes.filter((size) => !receiver.ids.has(size) && !refused.has(size));
      for (let waited = 0; waited < 500 * SLOWNESS && unknown().length > 0; waited += 10) await after(10);
      // The message about one packet is an error of the socket; it is read off before the next round.
      for (let errors = 0; errors < sizes.length && sender.error() !== ''; errors += 1);
      open = unknown();
    }
  } finally {
    sender.close();
    receiver.close();
  }
  return {
    arrived: ranges(sizes.filter((size) => receiver.ids.has(size))),
    refused: ranges(sizes.filter((size) => refused.has(size) && !receiver.ids.has(size))),
    lost: ranges(open),
  };
}

/** What has to come of it where nothing on the way is smaller than `mtu`. */
export function expectedOf({ mtu, packets }: Pick<Sweep, 'mtu' | 'packets'>): SweepResult {
  if (packets === 'divide') return { arrived: `${mtu - AROUND}-${mtu + AROUND}`, refused: '', lost: '' };
  return { arrived: `${mtu - AROUND}-${mtu}`, refused: `${mtu + 1}-${mtu + AROUND}`, lost: '' };
}

/** `1390-1450, 1452` */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const number of numbers) {
    const last = parts.at(-1);
    if (last?.[1] === number - 1) last[1] = number;
    else parts.push([number, number]);
  }
  return parts.map(([a, b]) => (a === b ? `${a}` : `${a}-${b}`)).join(', ');
}
