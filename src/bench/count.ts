import { InvalidArgumentError } from 'commander';

/** Parses an option's whole number from 1 to `most`. */
export function countUpTo(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (Number.isInteger(value) && value > 0 && value <= most) return value;
    throw new InvalidArgumentError(
      `must be a whole number from 1 ${most === Infinity ? 'on' : `to ${most}`}`,
    );
  };
}
