/** Something in an object that cannot be programmed; the rest of the object, and of the cluster, is. */
export interface Problem {
  /** `Service shop/web`. */
  readonly object: string;
  /** `spec.ports[1].port`. */
  readonly field: string;
  /** What is wrong and what would be right. */
  readonly message: string;
}

const NONE: readonly Problem[] = [];

/** Collects the problems of one object; most have none and share one empty list. */
export class ProblemList {
  readonly #object: string;
  #problems: Map<string, Problem> | undefined;

  constructor(object: string) {
    this.#object = object;
  }

  /** What is wrong with a field is told once: the first that is found is the cause of the rest. */
  add(field: string, message: string): void {
    this.#problems ??= new Map();
    if (!this.#problems.has(field)) this.#problems.set(field, { object: this.#object, field, message });
  }

  list(): readonly Problem[] {
    return this.#problems === undefined ? NONE : [...this.#problems.values()];
  }
}

/** A port number as the API has it: an integer from 1 to 65535. */
export function isPort(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
}
