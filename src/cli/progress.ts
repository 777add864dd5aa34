const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const FRAME_MS = 80;

/**
 * Tells on standard error what is being done: one line that turns on a terminal, one line for each step elsewhere.
 * No colour and no spinner without a terminal or with NO_COLOR.
 */
export class Progress {
  readonly #turns = process.stderr.isTTY && process.env['NO_COLOR'] === undefined;
  #text = '';
  #frame = 0;
  #timer: NodeJS.Timeout | undefined;

  /** The step that is being done now. */
  step(text: string): void {
    if (text === this.#text) return;
    this.#text = text;
    if (!this.#turns) {
      process.stderr.write(`${text}\n`);
      return;
    }
    this.#draw();
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS);
  }

  /** Clears the line; what comes next is the result. */
  end(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    if (this.#turns && this.#text !== '') process.stderr.write('\r\u001b[K');
    this.#text = '';
  }

  #draw(): void {
    this.#frame = (this.#frame + 1) % FRAMES.length;
    process.stderr.write(`\r\u001b[K\u001b[36m${FRAMES[this.#frame]}\u001b[0m ${this.#text}`);
  }
}
