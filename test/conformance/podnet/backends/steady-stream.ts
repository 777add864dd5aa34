import { vi } from 'vitest';
import type { IpFamily } from '../../../../src/net/ip.ts';
import { DatagramReceiver, DatagramSender } from './datagrams.ts';
import type { Party } from './scene.ts';
import { SLOWNESS } from './subject.ts';

const EVERY_MS = 10 * SLOWNESS;
/** What is on its way when the stream ends has so long: a worker in user space on a busy machine takes its time. */
const PATIENCE_MS = 3000 * SLOWNESS;
const SIZE = 100;

/**
 * Datagrams from one party to another, a hundred a second, and how many of them are lost. (ping gives the last ones of
 * a run two round trips' time only, whatever its -W says, and calls those that a busy machine delays lost.)
 */
export class SteadyStream {
  readonly #sender: DatagramSender;
  readonly #receiver: DatagramReceiver;
  readonly #timer: NodeJS.Timeout;
  readonly #refused: string[] = [];
  #sent = 0;

  constructor(from: Pick<Party, 'netns'>, to: Pick<Party, 'netns' | 'ip'>, family: IpFamily) {
    this.#receiver = new DatagramReceiver(to, family);
    this.#sender = new DatagramSender(from, to.ip(family), this.#receiver.port, 'divide');
    this.#timer = setInterval(() => {
      const code = this.#sender.send(SIZE, this.#sent);
      if (code !== '') this.#refused.push(`${this.#sent}: ${code}`);
      this.#sent += 1;
    }, EVERY_MS);
  }

  /** Ends the stream; returns the numbers of those that did not arrive, and what was said of those not taken. */
  async end(): Promise<{ sent: number; lost: readonly number[]; refused: readonly string[] }> {
    clearInterval(this.#timer);
    const { ids } = this.#receiver;
    const lost = (): number[] =>
      Array.from({ length: this.#sent }, (_, id) => id).filter((id) => !ids.has(id));
    await vi
      .waitUntil(() => lost().length === 0, { timeout: PATIENCE_MS, interval: 20 })
      .catch(() => undefined);
    this.#sender.close();
    this.#receiver.close();
    return { sent: this.#sent, lost: lost(), refused: this.#refused };
  }
}
