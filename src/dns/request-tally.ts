/**
 * Counters and histograms for what happens at every query. prom-client hashes the labels at each count, which
 * took half of the time of an answer; here a series is found once by one key, and counting is adding to numbers.
 * Written out in the Prometheus text format, like prom-client's own.
 */
export class CounterTally {
  readonly #name: string;
  readonly #help: string;
  readonly #series = new Map<string, { count: number }>();

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  /** The counter of these labels, to be kept; labels as Prometheus writes them: `zone=".",rcode="NOERROR"`. */
  series(labels: string): { count: number } {
    return getOrMake(this.#series, labels, () => ({ count: 0 }));
  }

  text(): string {
    const lines = [...this.#series].map(([labels, { count }]) => `${this.#name}{${labels}} ${count}`);
    return [`# HELP ${this.#name} ${this.#help}`, `# TYPE ${this.#name} counter`, ...lines, ''].join('\n');
  }
}

/** One histogram series. */
export class Distribution {
  readonly #bounds: readonly number[];
  readonly #counts: Float64Array;
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    let bucket = 0;
    while (bucket < this.#bounds.length && value > (this.#bounds[bucket] ?? Infinity)) bucket += 1;
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1;
    this.#sum += value;
  }

  lines(name: string, labels: string): string[] {
    let total = 0;
    const buckets = [...this.#bounds, '+Inf'].map((bound, i) => {
      total += this.#counts[i] ?? 0;
      return `${name}_bucket{le="${bound}",${labels}} ${total}`;
    });
    return [...buckets, `${name}_sum{${labels}} ${this.#sum}`, `${name}_count{${labels}} ${total}`];
  }
}

export class HistogramTally {
  readonly #name: string;
  readonly #help: string;
  readonly #bounds: readonly number[];
  readonly #series = new Map<string, Distribution>();

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.#name = name;
    this.#help = help;
    this.#bounds = bounds;
  }

  series(labels: string): Distribution {
    return getOrMake(this.#series, labels, () => new Distribution(this.#bounds));
  }

  text(): string {
    const lines = [...this.#series].flatMap(([labels, series]) => series.lines(this.#name, labels));
    return [`# HELP ${this.#name} ${this.#help}`, `# TYPE ${this.#name} histogram`, ...lines, ''].join('\n');
  }
}

function getOrMake<T>(map: Map<string, T>, key: string, make: () => T): T {
  const known = map.get(key);
  if (known !== undefined) return known;
  const made = make();
  map.set(key, made);
  return made;
}
