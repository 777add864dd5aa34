import { type Json, type JsonObject, isObject } from '../json/json.ts';

/**
 * A set of field paths as a tree. A step is written as FieldsV1 writes it: `f:name` a member, `k:{…}` an element of
 * a list by its keys, `v:…` a value of a set. `self` says that the path up to here is itself in the set.
 */
export class FieldSet {
  self: boolean;
  readonly children = new Map<string, FieldSet>();

  constructor(self = false) {
    this.self = self;
  }

  get isEmpty(): boolean {
    return !this.self && this.children.size === 0;
  }

  child(step: string): FieldSet {
    let found = this.children.get(step);
    if (found === undefined) {
      found = new FieldSet();
      this.children.set(step, found);
    }
    return found;
  }

  /** Adds everything of the other set. */
  add(other: FieldSet): void {
    if (other.self) this.self = true;
    for (const [step, inner] of other.children) this.child(step).add(inner);
  }

  /** A new set without the paths of the other one. */
  minus(other: FieldSet): FieldSet {
    const result = new FieldSet(this.self && !other.self);
    for (const [step, inner] of this.children) {
      const without = other.children.get(step);
      const rest = without === undefined ? inner : inner.minus(without);
      if (!rest.isEmpty) result.children.set(step, rest);
    }
    return result;
  }

  intersect(other: FieldSet): FieldSet {
    const result = new FieldSet(this.self && other.self);
    for (const [step, inner] of this.children) {
      const match = other.children.get(step);
      if (match === undefined) continue;
      const both = inner.intersect(match);
      if (!both.isEmpty) result.children.set(step, both);
    }
    return result;
  }

  equals(other: FieldSet): boolean {
    return this.minus(other).isEmpty && other.minus(this).isEmpty;
  }

  /** The paths of the set, each as its steps. */
  *paths(prefix: readonly string[] = []): Generator<readonly string[]> {
    if (this.self) yield prefix;
    for (const [step, inner] of this.children) yield* inner.paths([...prefix, step]);
  }

  /** As in managedFields. */
  toFieldsV1(): JsonObject {
    const result: JsonObject = {};
    if (this.self && this.children.size > 0) result['.'] = {};
    for (const step of [...this.children.keys()].sort()) result[step] = this.child(step).toFieldsV1();
    return result;
  }

  static fromFieldsV1(fields: Json | undefined): FieldSet {
    const set = new FieldSet();
    const members = isObject(fields) ? Object.entries(fields) : [];
    for (const [step, inner] of members) {
      if (step === '.') set.self = true;
      else {
        const child = FieldSet.fromFieldsV1(inner);
        if (child.children.size === 0) child.self = true;
        set.children.set(step, child);
      }
    }
    return set;
  }
}

/** A path as kubectl shows it in a conflict: `.spec.containers[name="a"].image`. */
export function pathText(steps: readonly string[]): string {
  return steps
    .map((step) => {
      const rest = step.slice(2);
      if (step.startsWith('f:')) return `.${rest}`;
      if (step.startsWith('v:')) return `[=${rest}]`;
      const keys = JSON.parse(rest) as JsonObject;
      return `[${Object.entries(keys)
        .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        .join(',')}]`;
    })
    .join('');
}
