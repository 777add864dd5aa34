/** Node ports: a port is taken for one protocol at a time, and automatic ones are free in all protocols. */
export class PortPool {
  readonly first: number;
  readonly last: number;
  readonly #taken = new Set<string>();
  readonly #uses = new Map<number, number>();

  constructor(first: number, last: number) {
    this.first = first;
    this.last = last;
  }

  holds(port: number): boolean {
    return port >= this.first && port <= this.last;
  }

  take(port: number, protocol: string): boolean {
    const key = `${protocol}/${port}`;
    if (this.#taken.has(key)) return false;
    this.#taken.add(key);
    this.#uses.set(port, (this.#uses.get(port) ?? 0) + 1);
    return true;
  }

  takeAny(protocol: string): number | undefined {
    const size = this.last - this.first + 1;
    // Starts at a random place, as kube-apiserver: a port just released is not the next one given out.
    const start = Math.floor(Math.random() * size);
    for (let tried = 0; tried < size; tried += 1) {
      const port = this.first + ((start + tried) % size);
      if (!this.#uses.has(port) && this.take(port, protocol)) return port;
    }
    return undefined;
  }

  release(port: number, protocol: string): void {
    if (!this.#taken.delete(`${protocol}/${port}`)) return;
    const uses = (this.#uses.get(port) ?? 1) - 1;
    if (uses === 0) this.#uses.delete(port);
    else this.#uses.set(port, uses);
  }
}
