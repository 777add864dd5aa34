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
  #problems: Problem[] | undefined;

  constructor(object: string) {
    this.#object = object;
  }

  add(field: string, message: string): void {
    (this.#problems ??= []).push({ object: this.#object, field, message });
  }

  list(): readonly Problem[] {
    return this.#problems ?? NONE;
  }
}

/** A port number as the API has it: an integer from 1 to 65535. */
export function isPort(value: number | null | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
}
